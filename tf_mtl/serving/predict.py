"""Predict: named tensors in, named tensors out."""

from collections.abc import Collection

from tensorflow_serving.apis import model_pb2, predict_pb2

from tf_mtl.serving import tensors
from tf_mtl.serving.errors import failed_precondition, invalid_argument
from tf_mtl.serving.saved_model import Servable, Signature

DEFAULT_SIGNATURE = "serving_default"


def predict(
    servable: Servable, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """Answers a Predict request.

    Args:
        servable: the model.
        request: inputs, signature (`serving_default` if empty) and, in `output_filter`,
            the outputs to answer with (all if empty).

    Returns:
        The response, values in the typed fields of its tensors.

    Raises:
        RequestError: FAILED_PRECONDITION if there is no such signature;
            INVALID_ARGUMENT if inputs or `output_filter` do not fit.
    """
    signature = find_signature(servable, request.model_spec.signature_name)
    wanted = request.output_filter or signature.outputs.keys()
    if request.output_filter:
        _check_outputs(request.output_filter, signature)
    signature.check_names(request.inputs.keys())
    inputs = {
        name: tensors.decode(name, proto, signature.inputs[name])
        for name, proto in request.inputs.items()
    }
    outputs = servable.run(signature, inputs)
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, servable, signature.name)
    for name in wanted:
        tensors.encode(outputs[name], response.outputs[name])
    return response


def find_signature(servable: Servable, name: str) -> Signature:
    """The signature of a name, `serving_default` if it is empty.

    Raises:
        RequestError: FAILED_PRECONDITION if there is none, as TensorFlow Serving says.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise failed_precondition(
            f'Serving signature key "{name}" not found. There are '
            f"{sorted(servable.signatures)}."
        )
    return servable.signatures[name]


def fill_model_spec(
    spec: model_pb2.ModelSpec, servable: Servable, signature_name: str
) -> None:
    """Says in a response what answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name


def _check_outputs(wanted: Collection[str], signature: Signature) -> None:
    for name in wanted:
        if name not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name}. Outputs expected "
                f"to be in the set {sorted(signature.outputs)}."
            )
    if len(set(wanted)) < len(wanted):
        raise invalid_argument("duplicate output tensor alias in `output_filter`.")
