"""One server with two models, of which one has two versions with labels."""

import json
import shutil
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tf_mtl import export, models
from tf_mtl.serving import Server, ServerConfig

from ..export.conftest import Saved, make_preprocessor
from .conftest import RAW, TASKS, examples_request

CONFIG = """model_config_list {
  config {
    name: "feed" base_path: "feed" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
  }
  config { name: "search" base_path: "search" model_platform: "tensorflow" }
}"""


@pytest.fixture(scope="module")
def served(feed, tmp_path_factory):
    """A server, its stub, and what answers by name and label."""
    base = tmp_path_factory.mktemp("several")
    model = models.SharedBottom(
        make_preprocessor(), TASKS, bottom_units=(8,), tower_units=(4,)
    )
    other = Saved(model, export.save(model, base / "search"))
    shutil.copytree(feed.folder, base / "feed" / "1")
    shutil.copytree(other.folder, base / "feed" / "2")
    (base / "models.config").write_text(CONFIG)
    config = ServerConfig(
        model_config_file=str(base / "models.config"), port=0, rest_port=0
    )
    answers = {
        ("feed", ""): (2, other),
        ("feed", "stable"): (1, feed),
        ("feed", "canary"): (2, other),
        ("search", ""): (1, other),
    }
    with (
        Server(config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield (
            server,
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            answers,
        )


ASKED = [("feed", ""), ("feed", "stable"), ("feed", "canary"), ("search", "")]


@pytest.mark.parametrize(("name", "label"), ASKED)
def test_model_and_label_choose_what_answers(served, name, label):
    server, stub, answers = served
    version, saved = answers[name, label]
    expected = saved.predict(RAW)["click"]
    request = examples_request(RAW, name)
    if label:
        request.model_spec.version_label = label
    response = stub.Predict(request)
    assert response.model_spec.version.value == version
    found = tf.make_ndarray(response.outputs["click"])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    path = f"{name}/labels/{label}" if label else name
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{path}:predict"
    body = json.dumps({"inputs": {n: c.tolist() for n, c in RAW.items()}}).encode()
    with urllib.request.urlopen(url, body) as answer:
        found = json.loads(answer.read())["outputs"]["click"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_models_differ(served):
    # Else the test above would prove nothing.
    _, _, answers = served
    stable, canary = (
        answers["feed", label][1].predict(RAW)["click"]
        for label in ("stable", "canary")
    )
    assert np.abs(stable - canary).max() > 1e-4
