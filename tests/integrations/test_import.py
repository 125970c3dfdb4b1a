"""The bridge says what it needs, and nothing else imports what it needs."""

import pathlib

import pytest

import tf_mtl

PACKAGE = pathlib.Path(tf_mtl.__file__).parent


def test_import_without_legacy_keras_says_what_to_set():
    with pytest.raises(ImportError, match="TF_USE_LEGACY_KERAS=1 before TensorFlow"):
        import tf_mtl.integrations.tfrs  # noqa: F401


def test_only_the_bridge_imports_recommenders():
    users = {
        path.relative_to(PACKAGE).parts[:2]
        for path in PACKAGE.rglob("*.py")
        if "import tensorflow_recommenders" in path.read_text()
    }
    assert users == {("integrations", "tfrs")}
