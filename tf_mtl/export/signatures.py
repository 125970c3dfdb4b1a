"""Serving signatures: from raw columns or tf.Examples to one output per task."""

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.export.calibration import Calibration
from tf_mtl.export.score import Score
from tf_mtl.models import TaskTrainer

# What TensorFlow can name a graph node, and so an input of a signature.
_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")
# Inputs of a signature, by name; and what makes inputs of the model of them.
Specs = Mapping[str, tf.TensorSpec]
Read = Callable[[Mapping[str, tf.Tensor]], Any]

_AUTOMATIC_NAME = re.compile(r"keras_tensor(_\d+)?")


def input_specs(model: TaskTrainer) -> dict[str, tf.TensorSpec]:
    """Inputs of `serving_default`: raw columns, else what the network takes.

    Args:
        model: model with `features`, or `MultiTask` around a functional or sequential
            network. An input that has no name of its own is called `inputs`, or
            `inputs_<position>` where there are several.

    Returns:
        dict of input name to type, in the order of the model.

    Raises:
        ValueError: if the inputs of the network are unknown, or TensorFlow cannot name
            an input so.
    """
    if model.features is not None:
        specs = model.features.raw_signature()
        _check_names(list(specs))
        return specs
    tensors = keras.tree.flatten_with_path(_structure(model.network))
    names = [_input_name(path, tensor) for path, tensor in tensors]
    _check_names(names)
    # A network that was built by its first batch remembers the size of that batch.
    return {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, (_, tensor) in zip(names, tensors, strict=True)
    }


def make_signatures(
    model: TaskTrainer,
    calibration: Calibration | None = None,
    score: Score | None = None,
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Traces the functions that an export answers by.

    `serving_default` takes the inputs of `input_specs`; `serve_examples`, for a model
    with `features`, takes serialized `tf.Example`s in a string tensor `examples` of
    shape `(batch,)`. Both give what `model.predict` gives: float32 tensors of shape
    `(batch,)` by task name, probabilities of binary tasks and values of regressions;
    and `score`, if there is one.

    A request must hold every input of a signature that has no default value, and these
    have none. So that weights of the score are no duty, signatures of their own take
    them: `serving_default_weighted` and `serve_examples_weighted` have one more input
    for each, float32 `(batch,)` or `(1,)` by its name.

    Args:
        model: built model.
        calibration: what maps the probabilities. None: they stay as they are.
        score: what is made of the mapped predictions.

    Returns:
        dict of signature name to traced function.

    Raises:
        ValueError: see `input_specs`; or if a weight has the name of an input.
    """
    reading = _reading_functions(model)
    weights = list(score.weights) if score is not None else []

    # Signatures call it, so that it is traced once and the SavedModel holds it once.
    @tf.function
    def predict(inputs: Any) -> dict[str, tf.Tensor]:
        found = model.predictions(inputs)
        found = {name: tf.cast(each, tf.float32) for name, each in found.items()}
        return found if calibration is None else calibration(found)

    def trace(
        read: Read, specs: Specs, weights: Sequence[str]
    ) -> tf.types.experimental.ConcreteFunction:
        _check_names([*specs, *weights])

        def serve(given: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            found = dict(predict(read({name: given[name] for name in specs})))
            if score is not None:
                found["score"] = score(found, {name: given[name] for name in weights})
            return found

        signature = {**specs}
        for name in weights:
            signature[name] = tf.TensorSpec([None], tf.float32, name)
        return tf.function(serve, input_signature=[signature]).get_concrete_function()

    signatures = {name: trace(*each, ()) for name, each in reading.items()}
    if weights:
        for name, each in reading.items():
            signatures[f"{name}_weighted"] = trace(*each, weights)
    return signatures


def _reading_functions(model: TaskTrainer) -> dict[str, tuple[Read, Specs]]:
    """By signature: what makes inputs of the model of those of the signature."""
    specs = input_specs(model)
    if model.features is None:
        structure = _structure(model.network)

        def from_network_inputs(given: Mapping[str, tf.Tensor]) -> Any:
            flat = [given[name] for name in specs]
            return keras.tree.pack_sequence_as(structure, flat)

        return {"serving_default": (from_network_inputs, specs)}

    def from_examples(given: Mapping[str, tf.Tensor]) -> Any:
        spec = model.features.parsing_spec()
        return model.features(tf.io.parse_example(given["examples"], spec))

    examples = tf.TensorSpec([None], tf.string, name="examples")
    return {
        "serving_default": (tf.function(model.features), specs),
        "serve_examples": (tf.function(from_examples), {"examples": examples}),
    }


def _structure(network: keras.Model) -> Any:
    """Symbolic inputs of a network, in the structure that it is called with."""
    if not getattr(network, "inputs", None):
        raise ValueError(
            "`model` must take inputs of known names and types. Received: a network "
            f"of type {type(network).__name__}, which is not functional. Pass "
            "MultiTask(..., features=Preprocessor([...])), or make it functional."
        )
    if isinstance(network, keras.Sequential):
        return network.inputs[0]
    return network.input


def _input_name(path: Sequence[str | int], tensor: keras.KerasTensor) -> str:
    if path and isinstance(path[-1], str):
        return path[-1]
    if not _AUTOMATIC_NAME.fullmatch(tensor.name):
        return tensor.name
    return "_".join(["inputs", *map(str, path)])


def _check_names(names: Sequence[str]) -> None:
    # TensorFlow turns names into arguments of a Python function.
    arguments = [re.sub(r"\W", "_", name).lower() for name in names]
    wrong = [
        name
        for name, argument in zip(names, arguments, strict=True)
        if not _NODE_NAME.fullmatch(name)
        or keyword.iskeyword(argument)
        or argument == "self"
        or arguments.count(argument) > 1
    ]
    if wrong:
        raise ValueError(
            "`model` must read inputs that a signature can name: letters and digits, "
            "then also `_ . / > -`, no Python keyword, no two that differ in case or "
            f"marks only. Received: {wrong}. Rename the columns in the data and in "
            "`features`, or the weights of the score."
        )
