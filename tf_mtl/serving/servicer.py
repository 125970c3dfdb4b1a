"""PredictionServicer: the methods of a server, for another gRPC server to host."""

from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tf_mtl.serving.config import ServerConfig
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.methods import make_methods
from tf_mtl.serving.server import make_admission, make_models


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers PredictionService in a `grpc.aio` server that is not this package's.

    Models are loaded when it is made. Deadlines are kept where there is a context;
    errors without one are raised.

    Example:
    ```python
    servicer = PredictionServicer(ServerConfig(model_base_path="saved_models/feed"))
    add_PredictionServiceServicer_to_server(servicer, grpc.aio.server())
    ```

    Args:
        config: models, concurrency, queue, rows and batching; the rest, which is about
            ports, is not used.

    Raises:
        ValueError: if the models cannot be loaded.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._models = make_models(config)
        self._models.start()
        self._admission = make_admission(config)
        self._calls = {each.name: each.call for each in make_methods(self._models)}

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: Any = None
    ) -> predict_pb2.PredictResponse:
        """Named tensors in, named tensors out."""
        return await self._answer("Predict", request, context)

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: Any = None
    ) -> classification_pb2.ClassificationResponse:
        """Classes of tf.Examples."""
        return await self._answer("Classify", request, context)

    async def Regress(
        self, request: regression_pb2.RegressionRequest, context: Any = None
    ) -> regression_pb2.RegressionResponse:
        """Values of tf.Examples."""
        return await self._answer("Regress", request, context)

    async def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: Any = None
    ) -> inference_pb2.MultiInferenceResponse:
        """Classes and values of the same tf.Examples."""
        return await self._answer("MultiInference", request, context)

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: Any = None,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Signatures of a model."""
        return await self._answer("GetModelMetadata", request, context)

    def close(self, timeout: float = 10.0) -> None:
        """Ends the threads and frees the models, when open requests are answered.

        Requests that come later get UNAVAILABLE.

        Args:
            timeout: seconds to wait for them.
        """
        self._admission.close(timeout)
        self._models.stop(timeout)

    async def _answer(
        self, name: str, request: Any, context: grpc.aio.ServicerContext | None
    ) -> Any:
        timeout = context.time_remaining() if context else None
        try:
            return await self._admission.run(
                lambda: self._calls[name](request), timeout
            )
        except RequestError as error:
            if context is None:
                raise
            return await context.abort(error.code, error.message)
