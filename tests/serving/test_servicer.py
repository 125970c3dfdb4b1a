"""The servicer in a plain server of grpc.aio, and called without a context."""

import asyncio
import pickle

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tf_mtl.serving import PredictionServicer, ServerConfig
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.inference import CLASSIFY

from ..export.conftest import to_examples
from .conftest import RAW, examples_request


@pytest.fixture(scope="module")
def servicer(base_path):
    made = PredictionServicer(ServerConfig(model_base_path=base_path))
    yield made
    made.close()


def of_examples(cls):
    request = cls()
    spec = request.model_spec if hasattr(request, "model_spec") else request.tasks.add()
    getattr(spec, "model_spec", spec).name = "feed"
    for example in to_examples(RAW):
        request.input.example_list.examples.add().ParseFromString(example)
    return request


def test_official_stubs_are_answered(servicer, feed):
    predicted = feed.predict(RAW)

    async def run():
        server = grpc.aio.server()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            servicer, server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = await stub.Predict(examples_request(RAW), timeout=30)
            np.testing.assert_allclose(
                tf.make_ndarray(response.outputs["click"]),
                predicted["click"],
                rtol=1e-6,
            )
            request = of_examples(classification_pb2.ClassificationRequest)
            rows = (await stub.Classify(request)).result.classifications
            scores = [row.classes[0].score for row in rows]
            np.testing.assert_allclose(scores, predicted["click"], rtol=1e-6)
            request = of_examples(regression_pb2.RegressionRequest)
            values = [r.value for r in (await stub.Regress(request)).result.regressions]
            np.testing.assert_allclose(values, predicted["dwell time"], rtol=1e-6)
            request = of_examples(inference_pb2.MultiInferenceRequest)
            request.tasks[0].method_name = CLASSIFY
            assert len((await stub.MultiInference(request)).results) == 1
            request = get_model_metadata_pb2.GetModelMetadataRequest()
            request.model_spec.name = "feed"
            request.metadata_field.append("signature_def")
            assert (await stub.GetModelMetadata(request)).model_spec.version.value == 1
            with pytest.raises(grpc.RpcError) as caught:
                await stub.Predict(examples_request(RAW, "food"))
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        await server.stop(None)

    asyncio.run(run())


def test_no_context_is_needed(servicer):
    response = asyncio.run(servicer.Predict(examples_request(RAW)))
    assert set(response.outputs) == {"click", "like", "dwell time"}
    with pytest.raises(RequestError, match="food"):
        asyncio.run(servicer.Predict(examples_request(RAW, "food")))


def test_closed_servicer_refuses_requests(base_path):
    closed = PredictionServicer(ServerConfig(model_base_path=base_path))
    closed.close()
    with pytest.raises(RequestError, match="takes no more") as caught:
        asyncio.run(asyncio.wait_for(closed.Predict(examples_request(RAW)), 30))
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_errors_cross_processes():
    error = RequestError(grpc.StatusCode.NOT_FOUND, "x" * 2000)
    found = pickle.loads(pickle.dumps(error))
    assert (found.code, found.message, str(found)) == (
        error.code,
        error.message,
        str(error),
    )
