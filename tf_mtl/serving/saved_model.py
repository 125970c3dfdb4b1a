"""Servable: a SavedModel in a session of its own, as TensorFlow Serving runs it."""

import json
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from tf_mtl.serving.batching import Batching, batched_outputs
from tf_mtl.serving.errors import from_tensorflow, invalid_argument
from tf_mtl.serving.tensors import DEFAULT_MAX_ROWS, TensorInfo

_TAG = tf.saved_model.SERVING


class Signature(NamedTuple):
    """A function of a SavedModel.

    Attributes:
        name: its key.
        method_name: what it is for: `tensorflow/serving/predict`, `.../classify` or
            `.../regress`.
        inputs: name of each input to its type.
        outputs: name of each output to its type.
        defaults: name of each optional input to the array that it is if absent.
        call: function of the arrays of all inputs in order, to those of all outputs.
    """

    name: str
    method_name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    defaults: Mapping[str, np.ndarray]
    call: Callable[..., list[np.ndarray]]

    def check_names(self, names: Collection[str]) -> None:
        """Checks that inputs are complete and known.

        Args:
            names: of the inputs that are given.

        Raises:
            RequestError: INVALID_ARGUMENT if they are not.
        """
        missing = self.inputs.keys() - names - self.defaults.keys()
        extra = set(names) - self.inputs.keys()
        if missing or extra:
            raise invalid_argument(
                f"inputs must be {sorted(self.inputs)}. Sent extra: "
                f"{sorted(extra)[:20]}. Missing but required: {sorted(missing)}."
            )


class Servable:
    """A loaded version of a model.

    A session costs less per call than a function of TensorFlow 2, and closing it frees
    all that it holds.

    Args:
        folder: folder of the SavedModel.
        name: of the model.
        version: int, its number.
        batching: how concurrent requests of tf.Examples are put together. None: not.
        max_rows: int, most rows of a request.

    Attributes:
        signatures: name to `Signature`.
        signature_defs: the same as TensorFlow wrote them.
        task_kinds: name of each task to its kind, `binary` or `regression`, where
            `assets.extra/model_info.json` says it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = "model",
        version: int = 1,
        batching: Batching | None = None,
        max_rows: int = DEFAULT_MAX_ROWS,
    ) -> None:
        self.folder = os.fspath(folder)
        self.name = name
        self.version = version
        self._batching = batching
        self.task_kinds = _task_kinds(self.folder)
        options = tf.compat.v1.ConfigProto()
        options.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=options)
        try:
            with self._session.graph.as_default():
                meta_graph = _load(self._session, self.folder)
                self.signatures = {
                    key: self._signature(key, signature)
                    for key, signature in meta_graph.signature_def.items()
                    if signature.outputs and not key.startswith("__")
                }
        except Exception:
            self._session.close()
            raise
        self.signature_defs = {
            key: meta_graph.signature_def[key] for key in self.signatures
        }
        self.limit_rows(max_rows)

    def limit_rows(self, max_rows: int) -> None:
        """Sets how many rows a request may have.

        Args:
            max_rows: int, most rows.
        """
        for signature in self.signatures.values():
            for info in signature.inputs.values():
                info.max_rows = max_rows

    def run(
        self, signature: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            signature: one of `signatures`.
            inputs: array of each input; those with a default may be absent.

        Returns:
            dict of output name to array.

        Raises:
            RequestError: what the graph says if it refuses the values.
        """
        arrays = {**signature.defaults, **inputs}
        try:
            values = signature.call(*(arrays[name] for name in signature.inputs))
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        # TensorFlow quotes what it cannot parse, which need not be text.
        except UnicodeDecodeError as error:
            raise invalid_argument("the model cannot parse an input.") from error
        return dict(zip(signature.outputs, values, strict=True))

    def close(self) -> None:
        """Frees the model. No call may be under way."""
        self._session.close()

    def _signature(
        self, key: str, definition: meta_graph_pb2.SignatureDef
    ) -> Signature:
        inputs = _tensor_infos(definition.inputs)
        outputs = _tensor_infos(definition.outputs)
        feeds = [info.tensor for info in inputs.values()]
        # All outputs each time: the session would keep a plan for each selection.
        call = self._callable(feeds, [info.tensor for info in outputs.values()])
        if self._batching:
            graph, types = self._session.graph, list(inputs.values())
            batched = batched_outputs(
                graph, types, list(outputs.values()), self._batching
            )
            if batched:
                names = [tensor.name for tensor in batched]
                together = self._callable(feeds, names)
                call = _call_together(together, call, self._batching.rows)
        defaults = {n: tf.make_ndarray(p) for n, p in definition.defaults.items()}
        return Signature(key, definition.method_name, inputs, outputs, defaults, call)

    def _callable(
        self, feeds: Sequence[str], fetches: Sequence[str]
    ) -> Callable[..., list[np.ndarray]]:
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        # Run the operations in the thread that calls. Requests run beside each other
        # already, and to hand operations to other threads halves their throughput.
        options.run_options.inter_op_thread_pool = -1
        # The public `make_callable` costs 0.15 ms more per call: it checks feeds again.
        return self._session._make_callable_from_options(options)


def _call_together(
    together: Callable[..., list[np.ndarray]],
    alone: Callable[..., list[np.ndarray]],
    max_rows: int,
) -> Callable[..., list[np.ndarray]]:
    def call(examples: np.ndarray) -> list[np.ndarray]:
        if not 0 < len(examples) <= max_rows:
            return alone(examples)
        try:
            return together(examples)
        # The fault may be that of another request in the batch.
        except (tf.errors.OpError, UnicodeDecodeError):
            return alone(examples)

    return call


def _task_kinds(folder: str) -> dict[str, str]:
    path = pathlib.Path(folder, "assets.extra", "model_info.json")
    if not path.is_file():
        return {}
    info = json.loads(path.read_text(encoding="utf-8"))
    return {task["name"]: task["kind"] for task in info["tasks"]}


def _load(session: tf.compat.v1.Session, folder: str) -> meta_graph_pb2.MetaGraphDef:
    verbosity = tf.compat.v1.logging.get_verbosity()
    # It says that it is deprecated. TensorFlow Serving loads in the same way.
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    try:
        return tf.compat.v1.saved_model.load(session, [_TAG], folder)
    finally:
        tf.compat.v1.logging.set_verbosity(verbosity)


def _tensor_infos(
    infos: Mapping[str, meta_graph_pb2.TensorInfo],
) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(
            infos[name].name,
            tf.as_dtype(infos[name].dtype),
            tf.TensorShape(infos[name].tensor_shape),
        )
        for name in sorted(infos)
    }
