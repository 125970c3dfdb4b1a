"""What `export.save` adds for serving works here: warm-up requests, score weights."""

import logging

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc, regression_pb2

from tf_mtl import export
from tf_mtl.serving import Server, ServerConfig

from ..export.conftest import to_examples
from .conftest import RAW, examples_request


@pytest.fixture(scope="module")
def scored(feed, tmp_path_factory):
    """Stub of a server of the model with a score."""
    base = tmp_path_factory.mktemp("scored") / "feed"
    score = export.Score("w_click * click + w_like * like", {"w_click": 1, "w_like": 2})
    export.save(feed.model, base, score=score, warmup=RAW)
    config = ServerConfig(model_base_path=str(base), port=0, rest_port=-1)
    log = logging.getLogger("tf_mtl.serving.warmup")
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        with (
            Server(config) as server,
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            yield stub, records
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def values(response, name):
    return tf.make_ndarray(response.outputs[name])


def test_warmup_requests_of_an_export_are_replayed(scored):
    _, records = scored
    assert len(records) == 1
    # One row and all rows, for each of four signatures.
    assert "replayed 8 warm-up requests" in records[0]


def test_score_takes_the_weights_of_a_request(scored):
    stub, _ = scored
    request = examples_request(RAW)
    response = stub.Predict(request)
    click, like = values(response, "click"), values(response, "like")
    np.testing.assert_allclose(values(response, "score"), click + 2 * like, rtol=1e-6)
    request.model_spec.signature_name = "serve_examples_weighted"
    for name, weight in (("w_click", 0.5), ("w_like", -1.0)):
        weights = tf.make_tensor_proto([weight] * len(click), tf.float32)
        request.inputs[name].CopyFrom(weights)
    found = values(stub.Predict(request), "score")
    np.testing.assert_allclose(found, 0.5 * click - like, rtol=1e-5)


def test_score_can_be_regressed(scored):
    stub, _ = scored
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "feed", "score"
    for example in to_examples(RAW):
        request.input.example_list.examples.add().ParseFromString(example)
    found = [row.value for row in stub.Regress(request).result.regressions]
    expected = values(stub.Predict(examples_request(RAW)), "score")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
