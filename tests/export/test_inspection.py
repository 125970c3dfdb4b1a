"""What is found in an export, here and in a process without Keras."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import export, models
from tf_mtl.export.inspection import Tensor

from .conftest import RAW, TASKS, make_preprocessor

INSPECT = """
import sys
for name in ("keras", "tf_keras"):
    sys.modules[name] = None
from tf_mtl import cli
sys.exit(cli.main(["inspect", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """An export with all that there is to see."""
    parent = tmp_path_factory.mktemp("inspected")
    (parent / "3").mkdir()
    provenance = export.Provenance(metrics={"test": {"click": {"auc": 0.8125}}})
    return export.save(
        trained.model,
        parent,
        score=export.Score("w * click", {"w": 0.5}),
        warmup=RAW,
        provenance=provenance,
    )


def test_everything_is_found(trained, folder):
    found = export.inspect(pathlib.Path(folder).parent)
    assert os.fspath(found.folder) == folder
    assert found.versions == (3, 4)
    assert list(found.signatures) == [
        "serve_examples",
        "serve_examples_weighted",
        "serving_default",
        "serving_default_weighted",
    ]
    answers = dict.fromkeys(
        ("click", "dwell time", "score"), Tensor("float32", (None,))
    )
    examples = {"examples": Tensor("string", (None,))}
    weight = {"w": Tensor("float32", (None,))}
    assert found.signatures["serve_examples"].inputs == examples
    assert found.signatures["serve_examples_weighted"].inputs == examples | weight
    assert found.signatures["serving_default"].inputs == {
        "city": Tensor("string", (None,)),
        "code": Tensor("int64", (None,)),
        "tags": Tensor("string", (None, None)),
        "hours-per-week": Tensor("float32", (None,)),
    }
    assert all(each.outputs == answers for each in found.signatures.values())
    weights = {w.path: tuple(w.shape) for w in trained.model.weights}
    assert {n: each.shape for n, each in found.variables.items()} == weights
    sizes = [each.num_bytes for each in found.variables.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 4 * found.info["num_weights"]
    for name in ("saved_model.pb", "assets.extra/MODEL_CARD.md"):
        assert found.files[name] == os.path.getsize(os.path.join(folder, name))
    assert found.num_warmup_requests == 8
    assert found.info["provenance"]["metrics"]["test"]["click"]["auc"] == 0.8125


def test_matrices_of_open_connections_have_names(tmp_path):
    model = models.SNR(make_preprocessor(), TASKS, sub_network_units=(20, 20))
    found = export.inspect(export.save(model, tmp_path))
    names = [name for name in found.variables if "open_kernels" in name]
    assert len(names) == len(set(names)) == model.num_sub_networks + len(TASKS)
    assert all("routing" in name for name in names)


def test_command_needs_no_keras(folder):
    child = subprocess.run(
        [sys.executable, "-c", INSPECT, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    for words in (
        "Versions: 3, 4",
        "SharedBottom, made",
        "serving_default",
        "(?, ?)",
        "dwell time",
        "0.8125",
        "Score: w * click, {'w': 0.5}",
        "tf_serving_warmup_requests",
        "Warm-up requests: 8",
    ):
        assert words in child.stdout


def test_models_of_other_programs_are_shown_too(tmp_path):
    module = tf.Module()
    module.table = tf.Variable(np.ones((3, 2)))
    module.words = tf.Variable(["a", "b"])
    serve = tf.function(
        lambda x: {"y": x @ module.table, "words": module.words},
        input_signature=[tf.TensorSpec([None, 3], tf.float64, name="x")],
    )
    folder = tmp_path / "model"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    found = export.inspect(folder)
    assert found.versions == ()
    assert found.info == {}
    assert found.signatures["serving_default"].inputs == {
        "x": Tensor("float64", (None, 3))
    }
    assert found.variables == {
        "table": Tensor("float64", (3, 2)),
        "words": Tensor("string", (2,)),
    }
    assert found.variables["table"].num_bytes == 48


def test_missing_and_damaged_models_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="without `saved_model.pb`"):
        export.inspect(tmp_path)
    copy = pathlib.Path(shutil.copytree(folder, tmp_path / "7"))
    (copy / "variables" / "variables.index").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged variables"):
        export.inspect(copy)
    (copy / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged file"):
        export.inspect(copy)
