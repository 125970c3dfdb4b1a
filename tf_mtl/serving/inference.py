"""Classify, Regress, MultiInference: tf.Examples in, classes or values out.

A signature that was exported for classification or regression answers as in TensorFlow
Serving. Models of this package have one signature for all tasks, so here a task goes by
its name where the protocol has the name of a signature.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    regression_pb2,
)

from tf_mtl.serving import results, tensors
from tf_mtl.serving.errors import failed_precondition, invalid_argument
from tf_mtl.serving.predict import DEFAULT_SIGNATURE, fill_model_spec
from tf_mtl.serving.saved_model import Servable, Signature

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_EXAMPLES_SIGNATURE = "serve_examples"
# A request says its context once, and each of its examples gets a copy.
_MAX_CONTEXT_BYTES = 2**27


class _Head(NamedTuple):
    """What answers: a signature, and the way from its outputs to a result."""

    signature: Signature
    result: Callable[[Mapping[str, np.ndarray], int], Any]


def classify(
    servable: Servable, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    """Answers a Classify request.

    The signature name of the request may be

    * that of a classification signature;
    * that of a binary task: its classes are `0` and `1`, with their probabilities;
    * empty, or of another signature that takes tf.Examples: there is one class per
      binary task, whose label is the task and whose score its probability.

    Args:
        servable: the model.
        request: tf.Examples.

    Returns:
        The response: classes of each example.

    Raises:
        RequestError: INVALID_ARGUMENT if there are no examples or they cannot be
            parsed, or no such task; FAILED_PRECONDITION if the model cannot classify.
    """
    name = request.model_spec.signature_name
    head = _classification_head(servable, name)
    response = classification_pb2.ClassificationResponse()
    fill_model_spec(response.model_spec, servable, name or head.signature.name)
    (result,) = _run(servable, request.input, [head])
    response.result.CopyFrom(result)
    return response


def regress(
    servable: Servable, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
    """Answers a Regress request.

    The signature name of the request may be that of a regression signature, or of a
    task: the value is what Predict gives, of a binary task its probability. It may be
    empty where the model has one regression task.

    Args:
        servable: the model.
        request: tf.Examples.

    Returns:
        The response: a value of each example.

    Raises:
        RequestError: see `classify`.
    """
    name = request.model_spec.signature_name
    head = _regression_head(servable, name)
    response = regression_pb2.RegressionResponse()
    fill_model_spec(response.model_spec, servable, name or head.signature.name)
    (result,) = _run(servable, request.input, [head])
    response.result.CopyFrom(result)
    return response


def multi_inference(
    servable: Servable, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Answers a MultiInference request: several tasks for the same tf.Examples.

    Each task of the request is as in `classify` or `regress`. The graph runs once for
    all that share a signature.

    Args:
        servable: the model.
        request: tf.Examples and what is asked about them.

    Returns:
        The response: a result per task of the request, in its order.

    Raises:
        RequestError: INVALID_ARGUMENT if tasks name different models, or a version or
            label that the first does not, or methods that
            there are not; see `classify`.
    """
    heads = []
    for task in request.tasks:
        if not _is_same_model(task.model_spec, request.tasks[0].model_spec):
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model, "
                "and the same version if they name one."
            )
        if task.method_name not in _HEADS:
            raise invalid_argument(
                f"`method_name` must be one of {list(_HEADS)}. "
                f"Received: {task.method_name!r}."
            )
        make_head, _ = _HEADS[task.method_name]
        heads.append(make_head(servable, task.model_spec.signature_name))
    response = inference_pb2.MultiInferenceResponse()
    answers = _run(servable, request.input, heads)
    for task, head, result in zip(request.tasks, heads, answers, strict=True):
        part = response.results.add()
        name = task.model_spec.signature_name or head.signature.name
        fill_model_spec(part.model_spec, servable, name)
        _, field = _HEADS[task.method_name]
        getattr(part, field).CopyFrom(result)
    return response


def _is_same_model(spec: model_pb2.ModelSpec, first: model_pb2.ModelSpec) -> bool:
    choice = spec.WhichOneof("version_choice")
    return spec.name == first.name and (
        choice is None
        or (
            choice == first.WhichOneof("version_choice")
            and getattr(spec, choice) == getattr(first, choice)
        )
    )


def _classification_head(servable: Servable, name: str) -> _Head:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature and signature.method_name == CLASSIFY:
        return _Head(signature, results.classes_of_signature)
    examples = _examples_signature(servable, name)
    binary = _tasks_of_kind(servable, examples, "binary")
    if not binary:
        raise failed_precondition(
            "The model must have a classification signature, or binary tasks in its "
            "`assets.extra/model_info.json`."
        )
    if not name or signature:
        return _Head(
            examples, lambda outputs, n: results.task_classes(outputs, binary, n)
        )
    if name not in binary:
        raise invalid_argument(
            f"signature_name must be that of a classification signature or one of the "
            f"binary tasks {binary}. Received: {name!r}."
        )
    return _Head(examples, lambda outputs, n: results.two_classes(outputs[name], n))


def _regression_head(servable: Servable, name: str) -> _Head:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature and signature.method_name == REGRESS:
        return _Head(
            signature, lambda outputs, n: results.values(outputs["outputs"], n)
        )
    examples = _examples_signature(servable, name)
    if name in examples.outputs:
        return _Head(examples, lambda outputs, n: results.values(outputs[name], n))
    regressions = _tasks_of_kind(servable, examples, "regression")
    if (name and not signature) or len(regressions) != 1:
        raise invalid_argument(
            f"signature_name must be that of a regression signature or one of the "
            f"outputs {list(examples.outputs)}. Received: {name!r}."
        )
    return _Head(
        examples, lambda outputs, n: results.values(outputs[regressions[0]], n)
    )


def _tasks_of_kind(servable: Servable, signature: Signature, kind: str) -> list[str]:
    kinds = servable.task_kinds.items()
    return [task for task, k in kinds if k == kind and task in signature.outputs]


_HEADS = {
    CLASSIFY: (_classification_head, "classification_result"),
    REGRESS: (_regression_head, "regression_result"),
}


def _examples_signature(servable: Servable, name: str) -> Signature:
    """The signature of that name if it takes tf.Examples, else the one that does."""
    for key in (name, _EXAMPLES_SIGNATURE, DEFAULT_SIGNATURE):
        signature = servable.signatures.get(key)
        if signature and _examples_input(signature):
            return signature
    raise failed_precondition(
        f"The model must have a signature that takes tf.Examples. It has "
        f"{sorted(servable.signatures)}."
    )


def _examples_input(signature: Signature) -> str | None:
    """Name of the input for tf.Examples: the only one that is needed, of strings."""
    needed = [name for name in signature.inputs if name not in signature.defaults]
    if len(needed) != 1:
        return None
    info = signature.inputs[needed[0]]
    is_vector = info.is_string and info.sizes is not None and len(info.sizes) == 1
    return needed[0] if is_vector else None


def _run(servable: Servable, given: input_pb2.Input, heads: list[_Head]) -> list[Any]:
    listed, context = _parts(given)
    names = [_needed_examples_input(head.signature) for head in heads]
    # Before examples become bytes and arrays.
    for head, name in zip(heads, names, strict=True):
        tensors.check_shape(name, (len(listed),), head.signature.inputs[name])
    # Bytes of messages that are joined are those of the merged message.
    serialized = [context + example.SerializeToString() for example in listed]
    examples = np.array(serialized, object)
    outputs: dict[str, Mapping[str, np.ndarray]] = {}
    for head, name in zip(heads, names, strict=True):
        signature = head.signature
        if signature.name not in outputs:
            outputs[signature.name] = servable.run(signature, {name: examples})
    return [head.result(outputs[head.signature.name], len(examples)) for head in heads]


def _needed_examples_input(signature: Signature) -> str:
    name = _examples_input(signature)
    if name is None:
        raise failed_precondition(
            f"Signature {signature.name!r} must take tf.Examples as its only input."
        )
    return name


def _parts(given: input_pb2.Input) -> tuple[Sequence[example_pb2.Example], bytes]:
    """The examples, and the bytes of what they have in common."""
    listed: Sequence[example_pb2.Example] = given.example_list.examples
    context = b""
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    if not listed:
        raise invalid_argument("Input is empty.")
    if len(context) * len(listed) > _MAX_CONTEXT_BYTES:
        raise invalid_argument(
            f"`context` must have at most {_MAX_CONTEXT_BYTES} bytes for all examples "
            f"together. Received: {len(context)} bytes, {len(listed)} examples."
        )
    return listed, context
