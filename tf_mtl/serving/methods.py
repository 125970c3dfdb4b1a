"""Methods: what clients can ask of a server, without the way they ask it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tf_mtl.serving import inference
from tf_mtl.serving.errors import invalid_argument
from tf_mtl.serving.model_manager import ModelManager
from tf_mtl.serving.predict import predict
from tf_mtl.serving.saved_model import Servable

_METADATA_FIELD = "signature_def"


class Method(NamedTuple):
    """One method.

    Attributes:
        service: name of its service.
        name: its name.
        request: class of its requests.
        call: function of a request to the response.
        computes: whether a model runs: such requests wait for their turn.
    """

    service: str
    name: str
    request: type[Message]
    call: Callable[[Any], Message]
    computes: bool

    def call_bytes(self, data: bytes) -> bytes:
        """The serialized response to a serialized request.

        Raises:
            RequestError: INVALID_ARGUMENT if `data` is no such request; or that of the
                method.
        """
        try:
            request = self.request.FromString(data)
        except DecodeError as error:
            raise invalid_argument(
                f"The request must be a {self.request.DESCRIPTOR.full_name}: {error}"
            ) from error
        return self.call(request).SerializeToString()


def make_methods(models: ModelManager) -> list[Method]:
    """The methods of PredictionService and ModelService.

    Args:
        models: what they are answered by.

    Returns:
        list of methods.
    """

    def on_model(function: Callable[[Servable, Any], Message]) -> Callable:
        def call(request: Any) -> Message:
            with models.use(request.model_spec) as servable:
                return function(servable, request)

        return call

    def multi_inference(request: inference_pb2.MultiInferenceRequest) -> Message:
        if not request.tasks:
            raise invalid_argument("`tasks` must not be empty.")
        with models.use(request.tasks[0].model_spec) as servable:
            return inference.multi_inference(servable, request)

    def get_model_status(
        request: get_model_status_pb2.GetModelStatusRequest,
    ) -> Message:
        statuses = models.statuses(request.model_spec)
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=statuses
        )

    def reload(request: model_management_pb2.ReloadConfigRequest) -> Message:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument("Only ModelConfigList is supported.")
        models.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    prediction = "tensorflow.serving.PredictionService"
    model = "tensorflow.serving.ModelService"
    requests = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
        "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
    }
    return [
        Method(service, name, requests[name], call, computes)
        for service, name, call, computes in (
            (prediction, "Predict", on_model(predict), True),
            (prediction, "Classify", on_model(inference.classify), True),
            (prediction, "Regress", on_model(inference.regress), True),
            (prediction, "MultiInference", multi_inference, True),
            (prediction, "GetModelMetadata", on_model(get_model_metadata), False),
            (model, "GetModelStatus", get_model_status, False),
            (model, "HandleReloadConfigRequest", reload, False),
        )
    ]


def get_model_metadata(
    servable: Servable, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers a GetModelMetadata request: the signatures of a model.

    Args:
        servable: the model.
        request: its only `metadata_field` is `signature_def`.

    Returns:
        The response, with a packed `SignatureDefMap`.

    Raises:
        RequestError: INVALID_ARGUMENT for no or other fields.
    """
    if list(request.metadata_field) != [_METADATA_FIELD]:
        raise invalid_argument(
            f"`metadata_field` must be [{_METADATA_FIELD!r}]. "
            f"Received: {list(request.metadata_field)[:10]}."
        )
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap(
        signature_def=servable.signature_defs
    )
    response.metadata[_METADATA_FIELD].Pack(signatures)
    return response
