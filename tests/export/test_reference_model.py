"""The reference model that is shipped: small, with the answers that were recorded."""

import json
import pathlib
import subprocess
import sys

import numpy as np
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl import export

SAVED_MODELS = pathlib.Path(__file__).parents[2] / "saved_models"
FOLDER = SAVED_MODELS / "synthetic"

SERVE = """
import json, sys
for name in ("keras", "tf_keras", "tf_mtl"):
    sys.modules[name] = None
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
specs = serve.structured_input_signature[1]
inputs = {
    name: tf.constant(rows, specs[name].dtype)
    for name, rows in json.load(open(sys.argv[2]))["inputs"].items()
}
answer = serve(**inputs)
print(json.dumps({name: each.numpy().tolist() for name, each in answer.items()}))
"""


def test_it_gives_the_recorded_answers_without_keras():
    child = subprocess.run(
        [sys.executable, "-c", SERVE, str(FOLDER / "1"), str(FOLDER / "request.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout.splitlines()[-1])
    expected = json.loads((FOLDER / "response.json").read_text())["outputs"]
    assert set(answer) == set(expected) == {"label_1", "label_2", "score"}
    for name, values in expected.items():
        np.testing.assert_allclose(answer[name], values, atol=1e-5)
    np.testing.assert_allclose(
        answer["score"],
        np.add(answer["label_1"], np.multiply(0.5, answer["label_2"])),
        atol=1e-6,
    )


def test_it_is_small_and_complete():
    found = export.inspect(FOLDER)
    assert found.versions == (1,)
    assert sum(found.files.values()) < 700_000
    assert "assets.extra/MODEL_CARD.md" in found.files
    assert found.num_warmup_requests == 8
    assert found.info["calibration"]["method"] == "platt"
    for metrics in found.info["provenance"]["metrics"]["test"].values():
        assert metrics["auc"] > 0.8


def test_it_tells_nothing_of_the_machine_it_was_made_on():
    here = str(SAVED_MODELS.parent).encode()
    for file in FOLDER.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(path in content for path in (here, b"site-packages"))


def test_models_config_names_it():
    text = (SAVED_MODELS / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert pathlib.PurePosixPath(model.base_path) == pathlib.PurePosixPath(
        "/models", model.name
    )
    assert (SAVED_MODELS / model.name).is_dir()
