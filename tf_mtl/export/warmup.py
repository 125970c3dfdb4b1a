"""Warm-up: requests that TensorFlow Serving answers before it takes others."""

import importlib.util
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.datasets.columns import num_rows, take_rows
from tf_mtl.datasets.records import serialize

FILE = "tf_serving_warmup_requests"


def can_write_warmup() -> bool:
    """Whether the extra `serving` is installed, which warm-up requests need."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def check_warmup(rows: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec]) -> None:
    """Checks that requests can be made of rows.

    Args:
        rows: dict of arrays `(rows, ...)` by column.
        specs: inputs of `serving_default`.

    Raises:
        ModuleNotFoundError: if the extra `serving` is missing.
        ValueError: if columns are missing or unknown, differ in length or are empty.
    """
    if not can_write_warmup():
        raise ModuleNotFoundError(
            "`warmup` needs the package tensorflow-serving-api. Install the extra, "
            "pip install '.[serving]' in a checkout, or leave `warmup` out.",
            name="tensorflow_serving",
        )
    if set(rows) != set(specs) or not num_rows(rows):
        raise ValueError(
            "`warmup` must hold rows of every column. Received: "
            f"{ {name: len(column) for name, column in rows.items()} }, columns: "
            f"{sorted(specs)}."
        )


def write_warmup(
    folder: pathlib.Path,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
    rows: Mapping[str, Any],
    weights: Mapping[str, float],
) -> None:
    """Writes two requests for each signature: with the first row, and with all.

    Each is computed once, so that what is written is known to be answered.

    Args:
        folder: the `assets.extra` of the SavedModel.
        signatures: function by name of the signature.
        rows: dict of arrays `(rows, ...)` by column.
        weights: dict of the weights of the score.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for some in (take_rows(rows, slice(1)), rows):
            for name, function in signatures.items():
                specs = function.structured_input_signature[0][0]
                tensors = dict(_tensors(specs, some, weights))
                function(tensors)
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, tensor in tensors.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(tensor))
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(
                    prediction_log_pb2.PredictionLog(
                        predict_log=log
                    ).SerializeToString()
                )


def _tensors(
    specs: Mapping[str, tf.TensorSpec],
    rows: Mapping[str, Any],
    weights: Mapping[str, float],
) -> Iterator[tuple[str, tf.Tensor]]:
    """The inputs of a signature."""
    for name, spec in specs.items():
        if name in weights:
            yield name, tf.fill([num_rows(rows)], weights[name])
        elif name in rows:
            yield name, tf.cast(np.asarray(rows[name]), spec.dtype)
        else:
            yield name, tf.constant(list(serialize(rows)))
