"""Servables: signatures, defaults, errors."""

import contextlib
import functools
import gc
import os
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving.batching import Batching
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.model_manager import load_warm
from tf_mtl.serving.saved_model import Servable
from tf_mtl.serving.served_model import ServedModel

from ..export.conftest import to_examples
from .conftest import RAW


class _Scale(tf.Module):
    def __init__(self):
        super().__init__()
        self.factor = tf.Variable(3.0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], name="x"),
            tf.TensorSpec([], name="shift"),
        ]
    )
    def shifted(self, x, shift):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
            return {"y": self.factor * x + shift}


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("scale"))
    module = _Scale()
    tf.saved_model.save(module, folder, signatures=module.shifted)
    # What `defaults` of a signature hold in a file.
    path = os.path.join(folder, "saved_model.pb")
    with open(path, "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["shift"].CopyFrom(tf.make_tensor_proto(0.5))
    with open(path, "wb") as file:
        file.write(saved.SerializeToString())
    servable = Servable(folder, "scale", 7)
    yield servable
    servable.close()


def test_signature_is_called_with_arrays(scale):
    signature = scale.signatures["serving_default"]
    given = {"x": np.array([1.0, 2.0], np.float32), "shift": np.float32(1.0)}
    np.testing.assert_allclose(scale.run(signature, given)["y"], [4, 7])


def test_input_with_a_default_may_be_absent(scale):
    signature = scale.signatures["serving_default"]
    signature.check_names(["x"])
    found = scale.run(signature, {"x": np.array([1.0], np.float32)})
    np.testing.assert_allclose(found["y"], [3.5])
    with pytest.raises(RequestError, match=r"required: \['x'\]"):
        signature.check_names(["shift"])


def test_error_of_the_graph_keeps_its_code(scale):
    signature = scale.signatures["serving_default"]
    with pytest.raises(RequestError) as caught:
        scale.run(signature, {"x": np.array([-1.0], np.float32)})
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert "node" not in caught.value.message


def test_kinds_of_tasks_are_known(feed):
    servable = Servable(feed.folder)
    assert servable.task_kinds == {
        "click": "binary",
        "like": "binary",
        "dwell time": "regression",
    }
    servable.close()


def test_neither_keras_nor_models_are_imported():
    names = ("keras", "tf_keras", "tf_mtl.models", "tf_mtl.export")
    code = f"import sys; [sys.modules.__setitem__(n, None) for n in {names}]\n"
    code += "import tf_mtl.serving"
    subprocess.run([sys.executable, "-c", code], check=True)


@contextlib.contextmanager
def without_garbage_collection():
    """Only what nobody refers to is freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def ask(servable):
    signature = servable.signatures["serve_examples"]
    examples = np.array(to_examples(RAW), object)
    assert len(servable.run(signature, {"examples": examples})["click"]) == 4


@pytest.mark.parametrize("batching", [None, Batching(rows=8, wait_ms=0.1)])
def test_closed_servable_leaves_nothing(feed, batching):
    with without_garbage_collection():
        servable = Servable(feed.folder, batching=batching)
        ask(servable)
        left = [weakref.ref(servable), weakref.ref(servable._session)]
        servable.close()
        del servable
        assert [each() for each in left] == [None, None]


@pytest.mark.parametrize("batching", [None, Batching(rows=8, wait_ms=0.1)])
def test_version_that_is_replaced_leaves_nothing(feed, tmp_path, batching):
    shutil.copytree(feed.folder, tmp_path / "1")
    config = model_server_config_pb2.ModelConfig(name="feed", base_path=str(tmp_path))
    model = ServedModel(config, functools.partial(load_warm, batching=batching))
    with without_garbage_collection():
        model.refresh()
        with model.use(model_pb2.ModelSpec(name="feed")) as servable:
            ask(servable)
            left = [weakref.ref(servable), weakref.ref(servable._session)]
        del servable
        (tmp_path / "1").rename(tmp_path / "2")
        model.refresh()
        assert model.available() == [2]
        assert [each() for each in left] == [None, None]
    assert model.close(1.0)
