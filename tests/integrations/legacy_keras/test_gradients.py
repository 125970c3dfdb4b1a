"""Rows, Gramian and combination are those of the Jacobian, with repeated ids."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators

from .problem import Joint, MaybeAbsent, Summed, make_data, make_rows


def one_batch(**kwargs):
    return {name: tf.constant(column) for name, column in make_rows(**kwargs).items()}


def dense_rows(model, batch):
    """Gradient of each task by each variable, dense."""
    with tf.GradientTape(persistent=True) as tape:
        losses = model.compute_losses(batch, training=True)
    return [
        [
            None if g is None else tf.convert_to_tensor(g).numpy()
            for g in tape.gradient(loss, model.trainable_variables)
        ]
        for loss in losses.values()
    ]


def step(model, batch, aggregator, optimizer=None, **kwargs):
    """Change of each trainable variable in one step, against its gradient."""
    optimizer = optimizer or tf.keras.optimizers.SGD(1.0)
    model.compile(optimizer, aggregator=aggregator, **kwargs)
    model.compute_losses(batch)
    before = [v.numpy() for v in model.trainable_variables]
    data = tf.data.Dataset.from_tensors(batch)
    logs = model.fit(data, verbose=0).history
    after = [v.numpy() for v in model.trainable_variables]
    return [b - a for b, a in zip(before, after, strict=True)], logs


@pytest.mark.parametrize("name", ["upgrad", "gradcraft"])
def test_direction_is_that_of_the_dense_jacobian(name):
    model, batch = Joint(), one_batch()
    first, second = dense_rows(model, batch)
    tables = [i for i, g in enumerate(second) if g is not None]
    assert [model.trainable_variables[i].shape[0] for i in tables] == [12, 9]
    jacobian = np.stack(
        [np.concatenate([row[i].ravel() for i in tables]) for row in (first, second)]
    )
    expected = aggregators.get(name)(tf.constant(jacobian)).numpy()
    found, _ = step(model, batch, name)
    np.testing.assert_allclose(
        np.concatenate([found[i].ravel() for i in tables]), expected, atol=2e-6
    )
    for i, gradient in enumerate(first):
        if i not in tables:
            np.testing.assert_allclose(found[i], gradient, atol=1e-6)


def test_regularisation_is_added_after_the_aggregation():
    regularizer = tf.keras.regularizers.L2(0.5)
    plain, _ = step(Joint(), one_batch(), "gradcraft")
    model = Joint(regularizer)
    model.compute_losses(one_batch())
    kernel = model.head.kernel.numpy()
    found, logs = step(model, one_batch(), "gradcraft")
    for variable, with_penalty, without in zip(
        model.trainable_variables, found, plain, strict=True
    ):
        penalty = kernel if variable is model.head.kernel else 0.0
        np.testing.assert_allclose(with_penalty, without + penalty, atol=1e-6)
    assert logs["regularization_loss"][0] == pytest.approx(
        0.5 * np.sum(kernel**2), rel=1e-5
    )


def test_equal_weights_are_the_training_of_plain_recommenders():
    data, ends = make_data(rows=20 * 16), []
    for model, arguments in ((Joint(), {"aggregator": "ew"}), (Summed(), {})):
        model.compile(tf.keras.optimizers.Adagrad(0.1), **arguments)
        model.fit(data, verbose=0)
        ends.append(model.get_weights())
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", aggregators.names())
def test_every_aggregator_trains(name):
    model = Joint()
    model.compile(tf.keras.optimizers.SGD(0.1), aggregator=name, run_eagerly=True)
    model.fit(make_data(rows=16), verbose=0)
    assert all(np.isfinite(v).all() for v in model.get_weights())


def test_an_absent_task_has_no_part_in_a_step():
    batch = one_batch() | {"known": tf.zeros([64, 1])}
    model = MaybeAbsent()
    _, alone = dense_rows(model, batch)
    found, logs = step(model, batch, "gradcraft")
    for change, gradient in zip(found, alone, strict=True):
        np.testing.assert_allclose(
            change, 0.0 if gradient is None else gradient, atol=1e-6
        )
    assert np.isnan(logs["rating_loss"])
    assert np.isfinite(logs["watch_loss"])


def test_loss_scale_is_taken_out_before_the_aggregation():
    plain, _ = step(Joint(), one_batch(), "gradcraft")
    optimizer = tf.keras.mixed_precision.LossScaleOptimizer(
        tf.keras.optimizers.SGD(1.0), dynamic=False, initial_scale=1024.0
    )
    scaled, _ = step(Joint(), one_batch(), "gradcraft", optimizer)
    for first, second in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
