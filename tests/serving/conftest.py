"""One small exported model, and a server of it, for all tests of serving."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tf_mtl import Task, export, models
from tf_mtl.serving import Server, ServerConfig

from ..export.conftest import RAW, Saved, make_preprocessor, to_examples

TASKS = (Task("click"), Task("like"), Task("dwell time", kind="regression"))
ROWS = {1: [1], 4: [0, 1, 2, 3], 4096: np.arange(4096) % 4}


def take(rows):
    return {name: column[rows] for name, column in RAW.items()}


@pytest.fixture(scope="session")
def feed(tmp_path_factory):
    """The model, saved as version 1 below a folder `feed`."""
    model = models.SharedBottom(
        make_preprocessor(), TASKS, bottom_units=(8,), tower_units=(4,)
    )
    return Saved(model, export.save(model, tmp_path_factory.mktemp("models") / "feed"))


@pytest.fixture(scope="session")
def base_path(feed):
    return feed.folder.rsplit("/", 1)[0]


@pytest.fixture(scope="session")
def server(base_path):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    with Server(config) as running:
        yield running


@pytest.fixture(scope="session")
def channel(server):
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as opened:
        yield opened


@pytest.fixture(scope="session")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def columns_request(feed, raw, model="feed"):
    """A request of raw columns, made by TensorFlow as clients do."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, spec in feed.model.features.raw_signature().items():
        value = tf.constant(raw[name], spec.dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def examples_request(raw, model="feed"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serve_examples"
    examples = tf.make_tensor_proto(to_examples(raw), tf.string)
    request.inputs["examples"].CopyFrom(examples)
    return request


def status_of(call, *args, **kwargs):
    """Code and message of an RPC that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code(), caught.value.details()
