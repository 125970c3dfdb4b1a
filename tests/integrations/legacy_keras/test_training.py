"""What `fit` shows and leaves behind: metrics, skipped batches, traces, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.integrations.tfrs import LazyAdam, MultiTaskTFRSModel

from .problem import Joint, make_data, make_rows


def fit(model, data, aggregator="gradcraft", optimizer=None, **kwargs):
    optimizer = optimizer or LazyAdam(0.01)
    model.compile(optimizer, aggregator=aggregator, **kwargs)
    return model.fit(data, verbose=0).history


def bad_data(bad, batches=2):
    rows = make_rows(16 * batches)
    rows["rating"][16 * bad] = np.inf
    return tf.data.Dataset.from_tensor_slices(rows).batch(16, drop_remainder=True)


def state_of(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [v.numpy() for v in (*variables, *model.aggregator.variables)]


def test_xla_graph_and_eager_give_the_same_weights():
    ends = []
    for options in ({"jit_compile": True}, {}, {"run_eagerly": True}):
        model = Joint()
        fit(model, make_data(rows=48), **options)
        ends.append(model.get_weights())
    for compiled, graph, eager in zip(*ends, strict=True):
        np.testing.assert_allclose(compiled, graph, atol=2e-5)
        np.testing.assert_allclose(eager, graph, atol=2e-5)


def test_losses_are_traced_once_and_not_again():
    calls = []

    class Counted(Joint):
        def compute_losses(self, inputs, training=False):
            calls.append(training)
            return super().compute_losses(inputs, training)

    model = Counted()
    fit(model, make_data())
    first = len(calls)
    model.fit(make_data(), epochs=2, verbose=0)
    assert len(calls) == first


def test_history_and_evaluation_hold_losses_and_metrics_of_the_tasks():
    model, data = Joint(), make_data()
    history = fit(model, data)
    losses = ["loss", "rating_loss", "watch_loss", "regularization_loss", "total_loss"]
    assert set(history) == {*losses, "rmse", "skipped_updates", "fallbacks"}
    scores = model.evaluate(data, return_dict=True, verbose=0)
    assert set(scores) == {*losses, "rmse"}
    expected = [model.compute_losses(batch) for batch in data]
    for task in ("rating", "watch"):
        mean = np.mean([losses[task] for losses in expected])
        assert scores[f"{task}_loss"] == pytest.approx(mean, rel=1e-5)
    assert scores["rmse"] ** 2 == pytest.approx(scores["rating_loss"], rel=1e-5)


def test_metrics_see_a_batch_once_where_the_method_looks_at_it_twice():
    model = Joint()
    fit(model, make_data(rows=16), aggregator="famo", run_eagerly=True)
    [rmse] = [metric for metric in model.metrics if metric.name == "rmse"]
    assert rmse.count.numpy() == 16


def test_a_batch_with_bad_numbers_changes_nothing_and_is_counted():
    model = Joint()
    fit(model, make_data(rows=16))
    before = state_of(model)
    with pytest.warns(UserWarning, match="1 update.s. of epoch 1 were skipped"):
        history = model.fit(bad_data(0, batches=1), verbose=0).history
    for value, old in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(value, old)
    assert history["skipped_updates"] == [1.0]
    assert np.isnan(history["loss"][0])
    assert history["rmse"] == [0.0]
    with pytest.warns(UserWarning, match="skipped"):
        history = model.fit(bad_data(1), verbose=0).history
    assert history["skipped_updates"] == [1.0]
    assert all(np.isfinite(values).all() for values in history.values())


def test_a_dynamic_loss_scale_falls_where_numbers_are_bad():
    optimizer = tf.keras.mixed_precision.LossScaleOptimizer(LazyAdam(0.01))
    model = Joint()
    fit(model, make_data(rows=16), optimizer=optimizer)
    weights, scale = model.get_weights(), float(optimizer.loss_scale)
    with pytest.warns(UserWarning, match="skipped"):
        model.fit(bad_data(0, batches=1), verbose=0)
    assert float(optimizer.loss_scale) == scale / 2
    for value, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, old)


class Doubled(tf.keras.layers.Layer):
    def call(self, x, training=None):
        del training
        if tf.reduce_sum(tf.abs(x)) >= 0.0:
            x = 2.0 * x
        return x


@pytest.mark.parametrize("jit_compile", [False, True])
def test_python_conditions_in_layers_become_graph_operations(jit_compile):
    model = Joint()
    model.norm = Doubled()
    history = fit(model, make_data(rows=16), "ew", jit_compile=jit_compile)
    assert history["skipped_updates"] == [0.0]


def test_optimizers_of_the_older_interface_work():
    optimizer = tf.keras.optimizers.legacy.Adagrad(0.1)
    history = fit(Joint(), make_data(rows=16), optimizer=optimizer)
    assert history["skipped_updates"] == [0.0]


def test_no_model_or_layer_of_keras_3_is_imported():
    import sys

    rooms = {name.split(".")[1] for name in sys.modules if name.startswith("tf_mtl.")}
    assert not rooms & {"models", "layers", "features"}


def with_losses(losses):
    class Fixed(MultiTaskTFRSModel):
        def compute_losses(self, inputs, training=False):
            return losses(inputs)

    return Fixed()


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        (lambda x: tf.reduce_sum(x["rating"]), TypeError, "must return a dict"),
        (lambda x: {"rating": x["rating"]}, ValueError, r"of shape \(16,\) for task"),
        (lambda x: {}, ValueError, "one or more"),
    ],
)
def test_losses_must_be_scalars_by_task(losses, error, message):
    with pytest.raises(error, match=message):
        fit(with_losses(losses), make_data(rows=16), run_eagerly=True)


def test_the_tasks_must_stay_the_same():
    class Changing(Joint):
        def compute_losses(self, inputs, training=False):
            losses = super().compute_losses(inputs, training)
            return losses if training else {"rating": losses["rating"]}

    with pytest.raises(ValueError, match="the same tasks in every batch"):
        model = Changing()
        fit(model, make_data(rows=16), run_eagerly=True)
        model.evaluate(make_data(rows=16), verbose=0)


def test_present_tasks_must_be_known():
    class Misspelt(Joint):
        def present_tasks(self, inputs):
            return {"ratings": True}

    with pytest.raises(ValueError, match=r"Received: \['ratings'\]"):
        fit(Misspelt(), make_data(rows=16), run_eagerly=True)


def test_an_optimizer_of_keras_3_is_refused():
    with pytest.raises(ValueError, match=r"integrations\.tfrs\.LazyAdam"):
        Joint().compile(keras.optimizers.Adam())


def test_several_replicas_are_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope(), pytest.raises(ValueError, match="a strategy with 2"):
        Joint().compile("sgd")


def test_a_model_without_losses_says_what_to_write():
    with pytest.raises(NotImplementedError, match="compute_losses"):
        fit(MultiTaskTFRSModel(), make_data(rows=16), run_eagerly=True)
