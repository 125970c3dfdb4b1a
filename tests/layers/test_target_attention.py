"""TargetAttention and Dice against their equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import Dice, TargetAttention

BATCH, LENGTH, WIDTH = 4, 5, 3
RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype("float32")
QUERY = RNG.normal(size=(BATCH, WIDTH)).astype("float32")
# The third row is empty; padding need not be at the end.
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0] * 5, [1, 1, 0, 0, 0]], bool)
ACTIVATIONS = ("dice", "sigmoid")
every_form = pytest.mark.parametrize("normalize", [False, True])


def make_layer(**kwargs):
    """A layer with weights that are not those of the start."""
    layer = TargetAttention(hidden_units=(6, 4), **kwargs)
    layer.build(ITEMS.shape, QUERY.shape)
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dice(x, alpha, mean, variance):
    p = sigmoid((x - mean) / np.sqrt(variance + 1e-8))
    return p * x + (1 - p) * alpha * x


def reference(layer, training=False):
    """The network on `[q, k, q - k, q * k]`, written out."""
    query = np.repeat(QUERY[:, None], LENGTH, axis=1)
    hidden = np.concatenate([query, ITEMS, query - ITEMS, query * ITEMS], axis=-1)
    for index, dense in enumerate(layer.dense):
        kernel, bias = (v.numpy() for v in dense.weights)
        hidden = hidden @ kernel + bias
        if index == len(layer.activations):
            break
        activation = layer.activations[index]
        if isinstance(activation, Dice):
            mean, variance = 0.0, 1.0
            if training:
                mean, variance = hidden[MASK].mean(axis=0), hidden[MASK].var(axis=0)
            hidden = dice(hidden, activation.alpha.numpy(), mean, variance)
        else:
            hidden = sigmoid(hidden)
    scores = hidden[..., 0]
    pooled = np.zeros((BATCH, WIDTH))
    for row in range(BATCH):
        kept = scores[row][MASK[row]]
        if layer.normalize and len(kept):
            kept = np.exp(kept) / np.exp(kept).sum()
        pooled[row] = kept @ ITEMS[row][MASK[row]]
    return pooled


@every_form
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_network_written_out(activation, normalize, jit_compile, training):
    layer = make_layer(activation=activation, normalize=normalize)
    expected = reference(layer, training)

    @tf.function(jit_compile=jit_compile)
    def call(items, query, mask):
        return layer(items, query, mask=mask, training=training)

    found = call(ITEMS, QUERY, MASK)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert not found[2].numpy().any()


@every_form
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_padding_never_leaks(activation, normalize):
    layer = make_layer(activation=activation, normalize=normalize)
    found = []
    for padding in (0.0, 1e3):
        items = tf.constant(np.where(MASK[..., None], ITEMS, padding), tf.float32)
        query = tf.constant(QUERY)
        with tf.GradientTape() as tape:
            tape.watch([items, query])
            pooled = layer(items, query, mask=MASK, training=True)
        found.append([pooled, *tape.gradient(pooled, [items, query])])
    for plain, padded in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, padded)
    assert not found[0][1].numpy()[~MASK].any()
    assert np.any(found[0][1]) and np.any(found[0][2])


@every_form
def test_a_batch_of_empty_sequences(normalize):
    layer = make_layer(normalize=normalize)
    items = tf.constant(ITEMS)
    with tf.GradientTape() as tape:
        tape.watch(items)
        pooled = layer(items, QUERY, mask=np.zeros_like(MASK), training=True)
    assert not np.any(pooled)
    assert not np.any(tape.gradient(pooled, items))
    assert all(np.isfinite(v.numpy()).all() for v in layer.variables)


@every_form
def test_length_may_be_dynamic(normalize):
    layer = make_layer(normalize=normalize)
    spec = tf.TensorSpec([None, None, WIDTH]), tf.TensorSpec([None, WIDTH])
    mask_spec = tf.TensorSpec([None, None], tf.bool)
    call = tf.function(lambda i, q, m: layer(i, q, mask=m), [*spec, mask_spec])
    for length in (LENGTH, 2, 0):
        items, mask = ITEMS[:, :length], MASK[:, :length]
        expected = np.zeros((BATCH, WIDTH))
        if length:
            expected = layer(items, QUERY, mask=mask)
        np.testing.assert_allclose(
            call(items, QUERY, mask), expected, rtol=1e-5, atol=1e-6
        )


def test_without_mask_nothing_is_padding():
    layer = make_layer()
    everything = np.ones_like(MASK)
    np.testing.assert_array_equal(
        layer(ITEMS, QUERY), layer(ITEMS, QUERY, mask=everything)
    )


def test_the_four_parts_are_never_written_out():
    layer = make_layer()
    call = tf.function(lambda: layer(tf.constant(ITEMS), QUERY, mask=MASK))
    nodes = call.get_concrete_function().graph.as_graph_def(add_shapes=True).node
    widths = {
        shape.dim[-1].size
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
        if len(shape.dim) == 3
    }
    assert WIDTH in widths
    assert 4 * WIDTH not in widths


def test_half_precision():
    layer = make_layer(normalize=True, dtype="mixed_bfloat16")
    found = layer(ITEMS, QUERY, mask=MASK)
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(found, tf.float32), reference(layer), rtol=0.1, atol=0.1
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_round_trip(activation, tmp_path):
    inputs = [
        keras.Input((None, WIDTH)),
        keras.Input((WIDTH,)),
        keras.Input((None,), dtype="bool"),
    ]
    layer = make_layer(activation=activation, query="item", name="attention")
    outputs = layer(*inputs[:2], mask=inputs[2])
    model = keras.Model(inputs, outputs)
    layer(ITEMS, QUERY, mask=MASK, training=True)
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert revived.get_layer("attention").get_config() == layer.get_config()
    data = [tf.constant(each) for each in (ITEMS, QUERY, MASK)]
    np.testing.assert_array_equal(revived(data), model(data))


def test_arguments_and_shapes_are_checked():
    with pytest.raises(ValueError, match="hidden_units"):
        TargetAttention(hidden_units=(8, 0))
    with pytest.raises(ValueError, match=r"width 3, query='item' of width 2"):
        TargetAttention("item").build((None, None, 3), (None, 2))
    with pytest.raises(ValueError, match="momentum=1"):
        Dice(momentum=1)


def test_dice_uses_the_batch_in_training_and_moving_averages_later():
    layer = Dice(momentum=0.5)
    inputs = RNG.normal(2.0, 3.0, size=(6, 2)).astype("float32")
    layer.build(inputs.shape)
    layer.alpha.assign([0.25, -0.5])
    alpha, mean, variance = layer.alpha.numpy(), inputs.mean(axis=0), inputs.var(axis=0)
    before = layer(inputs)
    np.testing.assert_allclose(before, dice(inputs, alpha, 0.0, 1.0), rtol=1e-5)
    in_training = layer(inputs, training=True)
    np.testing.assert_allclose(
        in_training, dice(inputs, alpha, mean, variance), rtol=1e-4, atol=1e-6
    )
    # Half of the start, which is 0 and 1, and half of the batch.
    np.testing.assert_allclose(
        layer(inputs),
        dice(inputs, alpha, mean / 2, (1 + variance) / 2),
        rtol=1e-4,
        atol=1e-6,
    )
