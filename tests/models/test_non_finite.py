"""A batch with bad numbers changes nothing, is counted, and training goes on."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl

from .problem import assert_same, is_different, make_batch, make_model


def make_data(bad_batches, steps=4):
    inputs, labels = make_batch(16 * steps)
    for batch in bad_batches:
        inputs["price"][16 * batch] = np.inf
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(16, True)


def make(aggregator="gradcraft", surface="parameters", **kwargs):
    model = make_model("mmoe")
    optimizer = tf_mtl.optimizers.LazyAdam(0.01)
    model.compile(optimizer, aggregator, surface, **kwargs)
    return model


def skipped_warnings(caught):
    return [w for w in caught if "skipped" in str(w.message)]


@pytest.mark.parametrize(
    ("aggregator", "surface", "options"),
    [
        ("ew", "parameters", {"run_eagerly": True}),
        ("pcgrad", "parameters", {"run_eagerly": True}),
        ("gradcraft", "representation", {"run_eagerly": True}),
        ("gradcraft", "parameters", {"jit_compile": True}),
    ],
)
def test_update_is_skipped(aggregator, surface, options):
    model = make(aggregator, surface, **options)
    model.fit(make_data([], steps=1), verbose=0)
    variables = [
        *model.weights,
        *model.optimizer.variables,
        *model.aggregator.variables,
    ]
    before = [v.numpy() for v in variables]
    with pytest.warns(UserWarning, match="were skipped"):
        logs = model.fit(make_data([0], steps=1), verbose=0).history
    assert logs["skipped_updates"] == [1.0]
    assert_same(variables, before, rtol=0, atol=0)
    logs = model.fit(make_data([], steps=1), verbose=0).history
    assert logs["skipped_updates"] == [0.0]
    assert is_different([v.numpy() for v in variables], before)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_skipped_updates_are_counted_and_warned_of_once():
    model = make("ew", run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logs = model.fit(make_data([1, 2]), epochs=2, verbose=0).history
    assert logs["skipped_updates"] == [2.0, 2.0]
    assert len(skipped_warnings(caught)) == 1
    assert np.isfinite([logs["loss"], logs["click_loss"]]).all()
    assert int(model.optimizer.iterations) == 4


def test_good_batches_do_not_warn():
    model = make("ew", run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(make_data([], steps=1), verbose=0)
    assert not skipped_warnings(caught)


def test_loss_scale_goes_down_after_overflow():
    model = make_model("shared_bottom")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=8.0
    )
    model.compile(optimizer, "gradcraft", run_eagerly=True)
    before = model.get_weights()
    with pytest.warns(UserWarning, match="were skipped"):
        model.fit(make_data([0], steps=1), verbose=0)
    assert float(optimizer.dynamic_scale) == 4.0
    assert_same(model.get_weights(), before, rtol=0, atol=0)


@pytest.mark.parametrize("surface", ["parameters", "representation"])
def test_loss_scale_does_not_change_the_update(surface):
    runs = []
    for optimizer in (
        keras.optimizers.SGD(0.1),
        tf_mtl.optimizers.LazySGD(0.1, loss_scale_factor=64.0),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    ):
        model = make_model("mmoe")
        model.compile(optimizer, "gradcraft", surface, run_eagerly=True)
        model.fit(make_data([], steps=1), verbose=0)
        runs.append(model.get_weights())
    assert_same(runs[1], runs[0])
    assert_same(runs[2], runs[0])
