"""Sums of parallel layers and routed sums against loops over their terms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import (
    CrossStitchUnit,
    SubNetworkRouting,
    stitch,
    stitch_gramian,
)

OUTPUTS, INPUTS, BATCH, UNITS = 3, 4, 5, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(INPUTS, BATCH, UNITS)).astype("float32")
COTANGENTS = RNG.normal(size=(OUTPUTS, BATCH, UNITS)).astype("float32")
NOISE = RNG.normal(size=(OUTPUTS, INPUTS)).astype("float32")
every_width = pytest.mark.parametrize("width", [1, UNITS])
every_kind = pytest.mark.parametrize("transform", [True, False])


def make_weights(width):
    return RNG.normal(size=(OUTPUTS, INPUTS, width)).astype("float32")


def make_routing(transform):
    keras.utils.set_random_seed(0)
    routing = SubNetworkRouting(INPUTS, OUTPUTS, transform)
    routing.build(X.shape)
    return routing


def gradients_at_inputs(function):
    """Gradient of each output alone, `(outputs, inputs, batch, units)`."""
    inputs = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = tf.unstack(function(inputs) * COTANGENTS)
    return np.stack([tape.gradient(output, inputs) for output in outputs])


def gramian(rows):
    flat = rows.reshape(len(rows), -1)
    return flat @ flat.T


def assert_copies_keep_gradients_apart(function):
    """The value is that without copies; output `o` reads copy `o` alone."""
    copies = tf.repeat(tf.constant(X)[None], OUTPUTS, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        outputs = function(copies)
        total = tf.reduce_sum(outputs * COTANGENTS)
    np.testing.assert_allclose(outputs, function(tf.constant(X)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(total, copies), gradients_at_inputs(function), rtol=1e-5
    )


@every_width
def test_stitch_is_a_weighted_sum(width):
    weights = make_weights(width)
    expected = [
        sum(weights[o, i] * X[i] for i in range(INPUTS)) for o in range(OUTPUTS)
    ]
    np.testing.assert_allclose(stitch(weights, X), expected, rtol=1e-5, atol=1e-6)
    assert_copies_keep_gradients_apart(lambda inputs: stitch(weights, inputs))


@every_width
def test_stitch_gramian_is_that_of_the_gradients(width):
    weights = make_weights(width)
    rows = gradients_at_inputs(lambda inputs: stitch(weights, inputs))
    actual = stitch_gramian(weights, tf.constant(COTANGENTS))
    np.testing.assert_allclose(actual, gramian(rows), rtol=1e-5)


@every_kind
@pytest.mark.parametrize("noise", [None, NOISE], ids=["served", "training"])
def test_routing_is_the_sum_over_gated_connections(transform, noise):
    routing = make_routing(transform)
    noise = None if noise is None else tf.constant(noise)
    gates = routing.gate(noise).numpy()
    kernel = routing.kernel.numpy() if transform else None
    expected = np.zeros((OUTPUTS, BATCH, UNITS))
    for o in range(OUTPUTS):
        for i in range(INPUTS):
            read = X[i] @ kernel[o, i] if transform else X[i]
            expected[o] += gates[o, i] * read
    np.testing.assert_allclose(routing(X, noise), expected, rtol=1e-4, atol=1e-6)
    assert_copies_keep_gradients_apart(lambda inputs: routing(inputs, noise))
    rows = gradients_at_inputs(lambda inputs: routing(inputs, noise))
    actual = routing.gramian(tf.constant(COTANGENTS), noise)
    np.testing.assert_allclose(actual, gramian(rows), rtol=1e-4)


def test_kernels_start_apart_and_their_sum_has_the_spread_of_one():
    keras.utils.set_random_seed(0)
    routing = SubNetworkRouting(4, 3)
    routing.build((4, None, 64))
    kernel = routing.kernel.numpy()
    assert len(np.unique(kernel.reshape(12, -1), axis=0)) == 12
    # Glorot's variance 2 / (64 + 64), divided by the number of terms.
    expected = np.sqrt(1 / 64 / 4)
    np.testing.assert_allclose(kernel.std(axis=(2, 3)), expected, rtol=0.05)
    keras.utils.set_random_seed(0)
    again = SubNetworkRouting(4, 3)
    again.build((4, None, 64))
    np.testing.assert_array_equal(again.kernel, kernel)


def test_a_closed_connection_lets_nothing_through():
    routing = make_routing(True)
    log_alpha = np.ones((OUTPUTS, INPUTS), "float32")
    log_alpha[1, 2] = -9
    routing.gate.log_alpha.assign(log_alpha)
    other = X.copy()
    other[2] += 1
    is_same = np.isclose(routing(X), routing(other), atol=0, rtol=0).all(axis=(1, 2))
    assert list(is_same) == [False, True, False]


@pytest.mark.parametrize("per_channel", [False, True])
def test_cross_stitch_starts_near_the_identity(per_channel):
    unit = CrossStitchUnit(0.7, per_channel)
    outputs = unit(X)
    kernel = unit.kernel.numpy()
    assert kernel.shape == (INPUTS, INPUTS, UNITS if per_channel else 1)
    expected = np.full((INPUTS, INPUTS), 0.1) + 0.6 * np.eye(INPUTS)
    np.testing.assert_allclose(
        kernel, np.broadcast_to(expected[..., None], kernel.shape), rtol=1e-6
    )
    np.testing.assert_allclose(
        outputs, np.tensordot(expected, X, 1), rtol=1e-5, atol=1e-6
    )


def test_one_layer_is_stitched_to_itself():
    np.testing.assert_array_equal(CrossStitchUnit()(X[:1]), X[:1])


@pytest.mark.parametrize(
    "layer",
    [
        CrossStitchUnit(0.7, per_channel=True),
        SubNetworkRouting(4, 3, transform=False, gate={"beta": 0.5}),
    ],
)
def test_round_trip(layer):
    config = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == layer.get_config()


@pytest.mark.parametrize("diagonal", [0.0, 1.1])
def test_bad_diagonal_is_refused(diagonal):
    with pytest.raises(ValueError, match=r"`diagonal` must be in \(0, 1\]"):
        CrossStitchUnit(diagonal)
