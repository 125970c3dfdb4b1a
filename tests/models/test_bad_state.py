"""State that a bad batch, another aggregator or new features must not spoil."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import features, models

from .problem import make_batch, make_dataset, make_model


def make_network(*extra):
    inputs = keras.Input((2,))
    hidden = inputs
    for layer in extra:
        hidden = layer(hidden)
    hidden = keras.layers.Dense(3, activation="relu")(hidden)
    return keras.Model(inputs, {n: keras.layers.Dense(1)(hidden) for n in "ab"})


def make_pair(network, **kwargs):
    model = tf_mtl.MultiTask(network, [tf_mtl.Task("a"), tf_mtl.Task("b")])
    model.compile("sgd", run_eagerly=True, **kwargs)
    return model


def make_rows(bad=False):
    inputs = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    if bad:
        inputs[0, 0] = np.nan
    labels = {"a": (inputs[:, 1] > 0) * 1.0, "b": (inputs[:, 1] < 0) * 1.0}
    return inputs, labels


def test_running_means_survive_a_bad_batch():
    model = make_pair(make_network(keras.layers.BatchNormalization()))
    model.fit(*make_rows(), verbose=0)
    before = model.get_weights()
    with pytest.warns(UserWarning, match="skipped"):
        logs = model.fit(*make_rows(bad=True), verbose=0).history
    for new, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    # A mean over no batch is not a perfect score.
    assert np.isnan(logs["loss"]).all()


def test_weights_load_into_a_model_with_another_aggregator(tmp_path):
    path = str(tmp_path / "model.weights.h5")
    first = make_model("shared_bottom")
    first.compile("sgd", tf_mtl.aggregators.get("gradcraft", norm_ema=0.9))
    first.save_weights(path)
    second = make_model("shared_bottom", seed=1)
    second.compile("sgd", tf_mtl.aggregators.get("pcgrad", seed=5))
    before = [v.numpy() for v in second.aggregator.variables]
    second.load_weights(path)
    for new, old in zip(second.aggregator.variables, before, strict=True):
        np.testing.assert_array_equal(new.numpy(), old)
    for new, old in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_accumulation_is_refused_behind_a_loss_scale():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(gradient_accumulation_steps=2)
    )
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        make_model("shared_bottom").compile(optimizer, "pcgrad")


def test_features_adapted_anew_are_refused(tmp_path):
    preprocessor = features.Preprocessor([features.Categorical("x")])
    rows = tf.data.Dataset.from_tensor_slices({"x": ["a", "b"]}).batch(2)
    preprocessor.adapt(rows, progress=False)
    model = models.SharedBottom(preprocessor, [tf_mtl.Task("a")], bottom_units=(2,))
    model.compile("sgd", run_eagerly=True)
    more = tf.data.Dataset.from_tensor_slices({"x": ["a", "b", "c"]}).batch(2)
    preprocessor.adapt(more, progress=False)
    with pytest.raises(ValueError, match=r"adapted again.*\['x'\]"):
        model.fit({"x": np.array([2, 4])}, {"a": np.array([0.0, 1.0])})
    with pytest.raises(ValueError, match="adapted again"):
        tf_mtl.export.save(model, tmp_path / "export")


def test_shared_variables_above_the_representations_are_refused():
    class Leaky(models.SharedBottom):
        def towers(self, task_inputs, training):
            if not hasattr(self, "leak"):
                self.leak = keras.layers.Dense(2)
            return super().towers(self.leak(task_inputs), training)

    specs = [features.IntegerRange("x", 4, embedding_dim=5)]
    tasks = [tf_mtl.Task("a"), tf_mtl.Task("b")]
    with pytest.raises(ValueError, match="above its representations.*kernel"):
        Leaky(specs, tasks, bottom_units=(3,), name="leaky")


def test_a_representation_that_no_tower_reads_is_allowed():
    class Wasteful(models.SharedBottom):
        def representations(self, inputs, training):
            shared = super().representations(inputs, training)
            return {**shared, "unused": 2 * shared["representation"]}

    specs = [features.IntegerRange("x", 4, embedding_dim=5)]
    tasks = [tf_mtl.Task("a"), tf_mtl.Task("b")]
    model = Wasteful(specs, tasks, bottom_units=(3,))
    plain = models.SharedBottom(specs, tasks, bottom_units=(3,))
    plain.set_weights(model.get_weights())
    batch = {"x": np.array([2, 3, 4])}, {n: np.array([0.0, 1.0, 1.0]) for n in "ab"}
    np.testing.assert_allclose(model.gramian(*batch), plain.gramian(*batch), rtol=1e-6)


def test_custom_loss_without_a_value_at_unknown_labels_trains():
    def relative_error(labels, outputs):
        return tf.abs(outputs - labels) / labels

    task = tf_mtl.Task("a", kind="regression", loss=relative_error)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = tf_mtl.MultiTask(network, [task])
    model.compile("sgd", run_eagerly=True)
    inputs, _ = make_rows()
    labels = np.array([1.0, 2.0, np.nan, 1.0, 1.0, 2.0, 3.0, 1.0], "float32")
    before = model.get_weights()
    logs = model.fit(inputs, {"a": labels}, verbose=0).history
    assert logs["skipped_updates"] == [0.0]
    assert not np.allclose(model.get_weights()[0], before[0])


def test_named_keras_loss_gets_logits():
    outputs, labels = tf.constant([-2.0, 0.5, 3.0]), tf.constant([0.0, 1.0, 1.0])
    named = tf_mtl.Task("a", loss="binary_crossentropy")
    np.testing.assert_allclose(
        named.example_losses(labels, outputs),
        tf_mtl.Task("a").example_losses(labels, outputs),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="from_logits=False"):
        tf_mtl.Task("a", loss=keras.losses.BinaryCrossentropy())


@pytest.mark.parametrize("policy", ["mixed_float16"])
def test_half_precision_trains(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model("mmoe")
        model.compile("adam", "gradcraft", run_eagerly=True)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        before = model.get_weights()
        logs = model.fit(make_dataset(steps=2), verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(logs["loss"]).all()
    assert any(
        not np.allclose(new, old)
        for new, old in zip(model.get_weights(), before, strict=True)
    )


def test_metrics_are_checked_and_named():
    task = tf_mtl.Task("a", metrics=["accuracy", "auc"])
    assert [m.name for m in task.make_metrics()] == ["a_accuracy", "a_auc"]
    with pytest.raises(ValueError, match="different names"):
        tf_mtl.Task("a", metrics=["auc", keras.metrics.AUC(name="auc")])
    with pytest.raises(ValueError, match="nope"):
        tf_mtl.Task("a", loss="nope")
    with pytest.raises(ValueError, match="shape"):
        tf_mtl.tasks.read_targets([task], {"a": tf.zeros([1, 2])})
    _, labels = make_batch(2)
    with pytest.raises(ValueError, match="no entry for task 'like'"):
        tf_mtl.tasks.read_targets(
            [tf_mtl.Task("click"), tf_mtl.Task("like")],
            labels,
            {"click": np.ones(2)},
        )
