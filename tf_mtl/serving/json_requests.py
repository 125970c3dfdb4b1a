"""Requests and answers of the REST interface, from JSON and to JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import classification_pb2, model_pb2, regression_pb2

from tf_mtl.serving import inference, json_tensors
from tf_mtl.serving.errors import invalid_argument
from tf_mtl.serving.predict import find_signature
from tf_mtl.serving.saved_model import Servable, Signature


def predict(servable: Servable, body: bytes) -> bytes:
    """Answers `:predict`, in rows (`instances`) or columns (`inputs`) as it is asked.

    Args:
        servable: the model.
        body: JSON.

    Returns:
        JSON with `predictions` or `outputs`.

    Raises:
        RequestError: see `predict.predict`; INVALID_ARGUMENT if it is no such JSON.
    """
    request = _parse(body)
    if ("instances" in request) == ("inputs" in request):
        raise invalid_argument("The body must have either `instances` or `inputs`.")
    signature = find_signature(servable, _signature_name(request))
    by_row = "instances" in request
    if by_row:
        columns = _columns_of_rows(signature, request["instances"])
    else:
        columns = _columns(signature, request["inputs"])
    signature.check_names(columns.keys())
    inputs = {
        name: json_tensors.decode(name, value, signature.inputs[name])
        for name, value in columns.items()
    }
    outputs = servable.run(signature, inputs)
    if by_row:
        return _dump({"predictions": _rows(outputs)})
    encoded = {name: json_tensors.encode(name, v) for name, v in outputs.items()}
    return _dump({"outputs": _only_or_all(encoded)})


def classify(servable: Servable, body: bytes) -> bytes:
    """Answers `:classify`: JSON with pairs of label and score per example."""
    request = classification_pb2.ClassificationRequest()
    _fill_examples(request, body)
    result = inference.classify(servable, request).result
    rows = [
        [[each.label, _short(each.score)] for each in row.classes]
        for row in result.classifications
    ]
    return _dump({"results": rows})


def regress(servable: Servable, body: bytes) -> bytes:
    """Answers `:regress`: JSON with a value per example."""
    request = regression_pb2.RegressionRequest()
    _fill_examples(request, body)
    result = inference.regress(servable, request).result
    return _dump({"results": [_short(row.value) for row in result.regressions]})


def from_message(message: Message) -> bytes:
    """A message as JSON, with the names of its fields and those that are empty."""
    return _dump(
        json_format.MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
    )


def metadata(servable: Servable) -> bytes:
    """Answers `/metadata`: the signatures of a model."""
    spec = model_pb2.ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = {
        name: json.loads(from_message(signature))
        for name, signature in servable.signature_defs.items()
    }
    return _dump(
        {
            "model_spec": json.loads(from_message(spec)),
            "metadata": {"signature_def": {"signature_def": signatures}},
        }
    )


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    # Lists in lists without end, and numbers of many thousand digits.
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"The body must be JSON: {error}") from error
    # Keys that mean nothing are ignored, as TensorFlow Serving does.
    if not isinstance(request, dict):
        raise invalid_argument("The body must be a JSON object.")
    return request


def _signature_name(request: Mapping[str, Any]) -> str:
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument("`signature_name` must be a string.")
    return name


def _columns_of_rows(signature: Signature, rows: Any) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise invalid_argument("`instances` must be a list with at least one row.")
    if not all(isinstance(r, dict) and not json_tensors.is_binary(r) for r in rows):
        return {_needed_input(signature): rows}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise invalid_argument("All rows in `instances` must have the same names.")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _columns(signature: Signature, inputs: Any) -> dict[str, Any]:
    if isinstance(inputs, dict) and not json_tensors.is_binary(inputs):
        # TensorFlow Serving takes from columns what it wants, but wants rows exact.
        return {name: v for name, v in inputs.items() if name in signature.inputs}
    return {_needed_input(signature): inputs}


def _needed_input(signature: Signature) -> str:
    needed = [name for name in signature.inputs if name not in signature.defaults]
    if len(needed) != 1:
        raise invalid_argument(
            f"Inputs must go by their names, {needed}: there is more than one."
        )
    return needed[0]


def _rows(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    shapes = {name: values.shape for name, values in outputs.items()}
    if len({shape[:1] for shape in shapes.values()}) != 1 or () in shapes.values():
        raise invalid_argument(
            f"Outputs have no common batch, {shapes}: use `inputs`, not `instances`."
        )
    encoded = {name: json_tensors.encode(name, v) for name, v in outputs.items()}
    if len(encoded) == 1:
        return next(iter(encoded.values()))
    rows = zip(*encoded.values(), strict=True)
    return [dict(zip(encoded, row, strict=True)) for row in rows]


def _only_or_all(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _fill_examples(request: Any, body: bytes) -> None:
    fields = _parse(body)
    request.model_spec.signature_name = _signature_name(fields)
    examples = fields.get("examples")
    if not isinstance(examples, list):
        raise invalid_argument("`examples` must be a list of JSON objects.")
    target: Any = request.input.example_list
    if "context" in fields:
        target = request.input.example_list_with_context
        _fill_example(target.context, fields["context"])
    for example in examples:
        _fill_example(target.examples.add(), example)


def _fill_example(example: tf.train.Example, fields: Any) -> None:
    if not isinstance(fields, dict):
        raise invalid_argument("An example must be a JSON object of features.")
    for name, value in fields.items():
        feature = example.features.feature[name]
        _fill_feature(feature, value if isinstance(value, list) else [value], name)


def _fill_feature(feature: tf.train.Feature, values: Sequence[Any], name: str) -> None:
    types = set(map(type, values))
    # Not even of a kind: an empty one is a missing one.
    if not types:
        return
    try:
        if types <= {int, bool}:
            feature.int64_list.value.extend(map(int, values))
        elif types <= {int, float}:
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(map(json_tensors.to_bytes, values))
    except (ValueError, OverflowError) as error:
        raise invalid_argument(f"feature {name!r}: {error}") from error


def _short(value: float) -> float:
    return json_tensors.encode("", np.array(value, np.float32))


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")
