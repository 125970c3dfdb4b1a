"""Stacked layers against a list of plain Keras layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import PerSlice, StackedDense, StackedMLP

SLICES, BATCH, WIDTH, UNITS = 3, 6, 5, 4
RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(BATCH, WIDTH)).astype("float32")
INPUTS = {
    "per_slice": RNG.normal(size=(SLICES, BATCH, WIDTH)).astype("float32"),
    "shared": SHARED,
    "copies": np.stack([SHARED] * SLICES),
}
every_form = pytest.mark.parametrize("form", INPUTS)
INITIALIZERS = ["glorot_uniform", "he_normal", "lecun_normal"]


def input_of(form, index):
    return INPUTS[form] if form == "shared" else INPUTS[form][index]


def plain_layers(stacked):
    """Plain dense layers with the weights of the slices."""
    layers = []
    for i in range(stacked.num_slices):
        layer = keras.layers.Dense(
            stacked.units, stacked.activation, use_bias=stacked.use_bias
        )
        layer.build((None, stacked.kernel.shape[1]))
        layer.kernel.assign(stacked.kernel[i])
        if stacked.use_bias:
            layer.bias.assign(stacked.bias[i, 0])
        layers.append(layer)
    return layers


@every_form
@pytest.mark.parametrize("use_bias", [True, False])
# Kernels with many columns and with few.
@pytest.mark.parametrize(("slices", "units"), [(SLICES, UNITS), (SLICES, 2), (1, 3)])
def test_values_and_gradients_are_those_of_plain_layers(form, use_bias, slices, units):
    stacked = StackedDense(
        slices, units, "tanh", use_bias, shared_input=form != "per_slice"
    )
    inputs = tf.constant(SHARED if form == "shared" else INPUTS[form][:slices])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = stacked(inputs)
        if use_bias:
            stacked.bias.assign(RNG.normal(size=stacked.bias.shape))
            outputs = stacked(inputs)
        total = tf.reduce_sum(tf.square(outputs))
    found = tape.gradient(total, [inputs, *(v.value for v in stacked.weights)])
    assert outputs.shape == stacked.compute_output_shape(inputs.shape)

    input_rows, kernel_rows, bias_rows = [], [], []
    for i, layer in enumerate(plain_layers(stacked)):
        single = tf.constant(input_of(form, i))
        with tf.GradientTape() as tape:
            tape.watch(single)
            expected = layer(single)
            total = tf.reduce_sum(tf.square(expected))
        np.testing.assert_allclose(outputs[i], expected, rtol=1e-5, atol=1e-6)
        of_input, of_kernel, *of_bias = tape.gradient(
            total, [single, *(v.value for v in layer.weights)]
        )
        input_rows.append(of_input)
        kernel_rows.append(of_kernel)
        bias_rows.extend(bias[None] for bias in of_bias)
    # Each copy of a shared input gets the gradient of its own slice only.
    expected = tf.add_n(input_rows) if form == "shared" else tf.stack(input_rows)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], tf.stack(kernel_rows), rtol=1e-4, atol=1e-5)
    if use_bias:
        np.testing.assert_allclose(found[2], tf.stack(bias_rows), rtol=1e-4, atol=1e-5)


@every_form
def test_mlp_is_a_list_of_plain_networks(form):
    mlp = StackedMLP(
        SLICES, (4, 3), "relu", output_units=1, shared_input=form != "per_slice"
    )
    outputs = mlp(tf.constant(INPUTS[form]))
    assert outputs.shape == (SLICES, BATCH, 1)
    columns = zip(*(plain_layers(dense) for dense in mlp.dense), strict=True)
    for i, layers in enumerate(columns):
        expected = tf.constant(input_of(form, i))
        for layer in layers:
            expected = layer(expected)
        np.testing.assert_allclose(outputs[i], expected, rtol=1e-5, atol=1e-6)


def test_mlp_drops_out_in_training_only():
    mlp = StackedMLP(SLICES, (64,), dropout=0.5, shared_input=True)
    inputs = tf.constant(SHARED)
    np.testing.assert_array_equal(mlp(inputs), mlp(inputs, training=False))
    assert np.mean(mlp(inputs, training=True) == 0) > np.mean(mlp(inputs) == 0) + 0.1


def test_regularizer_is_the_sum_over_slices():
    stacked = StackedDense(SLICES, UNITS, kernel_regularizer="l2")
    stacked.build((SLICES, None, WIDTH))
    expected = sum(
        keras.regularizers.L2()(tf.convert_to_tensor(stacked.kernel[i]))
        for i in range(SLICES)
    )
    np.testing.assert_allclose(stacked.losses[0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_slices_differ_and_each_is_a_plain_kernel(name):
    drawn = PerSlice(name, seed=0)((4, 300, 200)).numpy()
    plain = keras.initializers.get(name)((300, 200)).numpy()
    for i in range(4):
        assert drawn[i].std() == pytest.approx(plain.std(), rel=0.05)
        assert drawn[i].mean() == pytest.approx(0.0, abs=0.05 * float(plain.std()))
        assert all(not np.allclose(drawn[i], drawn[j]) for j in range(i))


def test_layer_draws_its_slices_apart():
    layer = StackedDense(4, 200, kernel_initializer="glorot_uniform")
    layer.build((4, None, 300))
    kernel = layer.kernel.numpy()
    limit = np.sqrt(6 / (300 + 200))
    assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01)
    assert not np.allclose(kernel[0], kernel[1])


def test_equal_seeds_draw_equal_numbers():
    first, second, third = (
        PerSlice("he_normal", seed=seed)((2, 3, 4)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


def test_global_seed_repeats_a_layer():
    kernels = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        layer = StackedDense(SLICES, UNITS)
        layer.build((SLICES, None, WIDTH))
        kernels.append(layer.kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


def test_initializer_without_seed_may_be_stacked():
    np.testing.assert_array_equal(PerSlice("zeros")((2, 3, 4)), np.zeros((2, 3, 4)))


@pytest.mark.parametrize(
    "layer",
    [
        StackedDense(SLICES, UNITS, "relu", False, "he_normal", "l2", True, name="a"),
        StackedMLP(SLICES, (4, 3), "tanh", 1, 0.25, "l1", True, name="b"),
    ],
    ids=["dense", "mlp"],
)
def test_config_round_trip(layer):
    config = keras.saving.serialize_keras_object(layer)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == layer.get_config()
    inputs = tf.constant(SHARED)
    expected = layer(inputs)
    clone(inputs)
    clone.set_weights(layer.get_weights())
    np.testing.assert_array_equal(clone(inputs), expected)


def test_initializer_round_trip():
    initializer = PerSlice("he_normal", seed=4)
    config = keras.saving.serialize_keras_object(initializer)
    clone = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(clone((2, 3, 4)), initializer((2, 3, 4)))


@pytest.mark.parametrize("argument", ["num_slices", "units"])
def test_sizes_must_be_positive(argument):
    sizes = {"num_slices": 2, "units": 2, argument: 0}
    with pytest.raises(ValueError, match=f"`{argument}` must be at least 1"):
        StackedDense(**sizes)


def test_mlp_must_have_a_layer():
    with pytest.raises(ValueError, match="`units` must not be empty"):
        StackedMLP(2, ())
