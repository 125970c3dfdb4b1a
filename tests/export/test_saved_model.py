"""What is saved answers as the model does, and holds nothing else."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import MultiTask, Task, export, models
from tf_mtl.export import saved_model
from tf_mtl.features import Numeric, Preprocessor

from .conftest import RAW, TASKS, make_features, make_preprocessor


def assert_same(served, predicted, rtol=1e-5):
    assert set(served) == set(predicted) == {task.name for task in TASKS}
    for name in predicted:
        assert served[name].dtype == tf.float32
        assert served[name].shape == predicted[name].shape
        np.testing.assert_allclose(served[name], predicted[name], atol=1e-6, rtol=rtol)


def test_both_signatures_answer_like_predict(saved, request):
    predicted = saved.predict(RAW)
    assert predicted["click"].shape == (4,)
    assert np.ptp(predicted["click"]) > 0
    # SNR adds its open connections up in another order, and large terms cancel: 1.6e-5
    # of a value was seen.
    rtol = 1e-4 if "snr" in request.node.name else 1e-5
    assert_same(saved.serve_columns(RAW), predicted, rtol)
    assert_same(saved.serve_examples(RAW), predicted, rtol)


@pytest.mark.parametrize("batch", [0, 1, 4096])
def test_any_batch_size(trained, batch):
    rows = np.arange(batch) % 4
    raw = {name: column[rows] for name, column in RAW.items()}
    expected = {name: value[rows] for name, value in trained.predict(RAW).items()}
    assert_same(trained.serve_columns(raw), expected)
    assert_same(trained.serve_examples(raw), expected)


def test_dropout_is_off(trained):
    first, second = trained.serve_columns(RAW), trained.serve_columns(RAW)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_examples_may_have_lists_of_any_length(trained):
    tags = np.array([["x", "y", "z", "x"], ["", "", "", ""]])
    raw = {name: column[:2] for name, column in RAW.items()} | {"tags": tags}
    assert_same(trained.serve_examples(raw), trained.predict(raw))
    assert_same(trained.serve_columns(raw), trained.predict(raw))


def test_variables_are_the_weights_and_nothing_else(trained):
    variables = tf.train.list_variables(
        os.path.join(trained.folder, "variables", "variables")
    )
    shapes = [shape for name, shape in variables if "OBJECT_GRAPH" not in name]
    weights = trained.model.weights
    assert len(trained.model.variables) > len(weights)
    assert trained.model.optimizer.variables
    assert sorted(map(tuple, shapes)) == sorted(tuple(w.shape) for w in weights)


def test_weights_are_not_constants_of_the_graph(tmp_path):
    model = MultiTask(_network(units=1000), [Task("click")])
    folder = export.save(model, tmp_path)
    graph = os.path.getsize(os.path.join(folder, "saved_model.pb"))
    assert graph < 100_000 < 4 * model.count_params()


def test_saving_leaves_the_model_alone(trained, tmp_path):
    before = [v.numpy() for v in trained.model.variables]
    export.save(trained.model, tmp_path)
    for variable, value in zip(trained.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert_same(trained.serve_columns(RAW), trained.predict(RAW))


def test_saves_are_counted_up(trained, tmp_path):
    assert export.save(trained.model, tmp_path) == str(tmp_path / "1")
    assert export.save(trained.model, tmp_path, version=7) == str(tmp_path / "7")
    assert export.latest(tmp_path) == str(tmp_path / "7")


def test_lookup_layer_inside_a_network_is_saved(tmp_path):
    city = keras.Input((), dtype="string", name="city")
    ids = keras.layers.StringLookup(vocabulary=["Rome", "Oslo"])(city)
    outputs = keras.layers.Dense(1)(keras.layers.Embedding(4, 3)(ids))
    model = MultiTask(keras.Model(city, outputs), [Task("click")])
    loaded = tf.saved_model.load(export.save(model, tmp_path))
    rows = tf.constant(["Rome", "Oslo", "Lima"])
    served = loaded.signatures["serving_default"](city=rows)["click"]
    assert len(set(served.numpy())) == 3
    np.testing.assert_allclose(
        served, model.predict(rows, verbose=0)["click"], atol=1e-6
    )


def test_subclassed_network_with_features_is_saved(tmp_path):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, inputs):
            return tf.unstack(self.dense(inputs["hours"]), axis=1)

    model = MultiTask(Network(), TASKS, features=make_preprocessor())
    with pytest.raises(ValueError, match="must be built"):
        export.save(model, tmp_path)
    predicted = model.predict(model.features(RAW), verbose=0)
    loaded = tf.saved_model.load(export.save(model, tmp_path))
    hours = {"hours-per-week": tf.constant(RAW["hours-per-week"])}
    raw = {n: tf.constant(v) for n, v in RAW.items()} | hours
    assert_same(loaded.signatures["serving_default"](**raw), predicted)


def test_mirrored_variables_are_saved(tmp_path):
    features = [Numeric("age", normalization=None, default=0.0)]
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = models.SharedBottom(features, TASKS, bottom_units=(4,))
    loaded = tf.saved_model.load(export.save(model, tmp_path))
    age = tf.constant([1.0, 2.0])
    served = loaded.signatures["serving_default"](age=age)
    assert len(loaded.weights) == len(model.weights)
    assert_same(served, model.predictions(model.features({"age": age})))


def test_predictions_in_half_precision_are_served_as_float32(tmp_path):
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        features = [Numeric("age", normalization=None, default=0.0)]
        model = models.SharedBottom(features, TASKS, bottom_units=(4,))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    loaded = tf.saved_model.load(export.save(model, tmp_path))
    outputs = loaded.signatures["serving_default"](age=tf.constant([1.0, 2.0]))
    assert all(value.dtype == tf.float32 for value in outputs.values())


def test_failure_leaves_no_folder(trained, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        export.save(trained.model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_keras_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"Wrap a Keras model: MultiTask"):
        export.save(_network(units=2), tmp_path)


def test_features_that_are_not_adapted_are_refused(tmp_path):
    model = models.SharedBottom(Preprocessor(make_features()), TASKS)
    with pytest.raises(ValueError, match="adapted features"):
        export.save(model, tmp_path)


def test_model_that_is_not_built_is_refused(tmp_path):
    model = models.SharedBottom(Preprocessor(make_features()), TASKS)
    model.features.adapt(tf.data.Dataset.from_tensors(RAW), progress=False)
    with pytest.raises(ValueError, match="`model` must be built"):
        export.save(model, tmp_path)


def _network(units):
    inputs = keras.Input((100,))
    hidden = keras.layers.Dense(units)(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def test_extra_signature_must_not_take_the_name_of_an_own_one(trained, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(x):
        return {"double": 2 * x}

    extra = {"serving_default": double.get_concrete_function()}
    with pytest.raises(ValueError, match=r"names of their own.*\['serving_default'\]"):
        export.save(trained.model, tmp_path, extra_signatures=extra)
    assert not list(tmp_path.glob("[0-9]*"))
