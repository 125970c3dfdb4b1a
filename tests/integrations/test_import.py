"""The bridge says what it needs, and nothing else imports what it needs."""

import os
import pathlib
import subprocess
import sys

import tf_mtl

PACKAGE = pathlib.Path(tf_mtl.__file__).parent


def test_import_without_legacy_keras_says_what_to_set():
    # In a process of its own: tf.Transform turns legacy Keras on where it is imported.
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    child = subprocess.run(
        [sys.executable, "-c", "import tf_mtl.integrations.tfrs"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    assert "ImportError" in child.stderr
    assert "TF_USE_LEGACY_KERAS=1 before TensorFlow" in child.stderr


def test_only_the_bridge_imports_recommenders():
    users = {
        path.relative_to(PACKAGE).parts[:2]
        for path in PACKAGE.rglob("*.py")
        if "import tensorflow_recommenders" in path.read_text()
    }
    assert users == {("integrations", "tfrs")}
