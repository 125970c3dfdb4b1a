"""Attention and convolution over experts against slow references."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import ExpertAttention, ExpertConvolution

EXPERTS, BATCH, UNITS = 3, 5, 4
RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(EXPERTS, BATCH, UNITS)).astype("float32")
LAYERS = {
    "attention": lambda **kwargs: ExpertAttention(num_heads=2, **kwargs),
    "convolution": lambda **kwargs: ExpertConvolution(filters=6, **kwargs),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def make(name, **kwargs):
    """A layer whose variables are all drawn at random."""
    layer = LAYERS[name](**kwargs)
    layer(tf.constant(OUTPUTS))
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    return layer


def attended(layer):
    """What is added to each expert, by a loop over examples and heads."""
    kernels, biases = layer.project.kernel.numpy(), layer.project.bias.numpy()
    width = UNITS // layer.num_heads
    result = np.zeros_like(OUTPUTS)
    for b in range(BATCH):
        tokens = OUTPUTS[:, b]
        centred = tokens - tokens.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(tokens.var(axis=1, keepdims=True) + 1e-3)
        tokens = scaled * layer.norm.gamma.numpy() + layer.norm.beta.numpy()
        query, key, values = tokens @ kernels + biases
        for head in range(layer.num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = query[:, part] @ key[:, part].T / np.sqrt(width)
            weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            result[:, b, part] = weights @ values[:, part]
    return result @ layer.output_dense.kernel.numpy() + layer.output_dense.bias.numpy()


def convolved(layer):
    """What is added to each expert, by a loop over examples and places."""
    kernel, bias, back, back_bias = (v.numpy() for v in (*layer.convolve, *layer.mix))
    kernel = kernel.reshape(3, EXPERTS, -1)
    result = np.zeros_like(OUTPUTS)
    for b in range(BATCH):
        padded = np.pad(OUTPUTS[:, b], [[0, 0], [1, 1]])
        for u in range(UNITS):
            window = padded[:, u : u + 3]
            hidden = np.einsum("ew,wef->f", window, kernel) + bias[:, 0, 0]
            result[:, b, u] = np.maximum(hidden, 0) @ back + back_bias[:, 0, 0]
    return result


@pytest.mark.parametrize(
    ("name", "found"), [("attention", attended), ("convolution", convolved)]
)
def test_what_is_added_is_that_of_a_loop(name, found):
    layer = make(name)
    expected = OUTPUTS + layer.scale.numpy() * found(layer)
    np.testing.assert_allclose(
        layer(tf.constant(OUTPUTS)), expected, rtol=1e-4, atol=1e-5
    )


@every_layer
def test_starts_as_the_identity_and_can_leave_it(name):
    layer = LAYERS[name]()
    with tf.GradientTape() as tape:
        outputs = layer(tf.constant(OUTPUTS))
        loss = tf.reduce_sum(tf.square(outputs))
    np.testing.assert_array_equal(outputs, OUTPUTS)
    assert tape.gradient(loss, layer.scale.value) != 0


@every_layer
def test_every_expert_reads_the_others_of_its_example_only(name):
    layer = make(name)
    changed = OUTPUTS.copy()
    changed[0, 2] += 1.0
    before, after = layer(tf.constant(OUTPUTS)), layer(tf.constant(changed))
    moved = np.any(before.numpy() != after.numpy(), axis=-1)
    expected = np.zeros((EXPERTS, BATCH), bool)
    expected[:, 2] = True
    np.testing.assert_array_equal(moved, expected)


@every_layer
def test_mixed_bfloat16_keeps_the_dtype_of_the_experts(name):
    layer = make(name, dtype="mixed_bfloat16")
    outputs = layer(tf.constant(OUTPUTS, tf.bfloat16))
    assert outputs.dtype == tf.bfloat16
    # bfloat16 has 8 bits.
    expected = make(name)(tf.constant(OUTPUTS))
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, rtol=0.05, atol=0.2
    )


@every_layer
def test_config_round_trip(name):
    layer = make(name)
    config = keras.saving.serialize_keras_object(layer)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == layer.get_config()
    clone(tf.constant(OUTPUTS))
    clone.set_weights(layer.get_weights())
    np.testing.assert_array_equal(
        clone(tf.constant(OUTPUTS)), layer(tf.constant(OUTPUTS))
    )


@pytest.mark.parametrize("cls", [ExpertAttention, ExpertConvolution])
def test_sizes_must_be_positive(cls):
    with pytest.raises(ValueError, match="must be at least 1"):
        cls(0)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="`num_heads` must divide"):
        ExpertAttention(3)(tf.constant(OUTPUTS))
