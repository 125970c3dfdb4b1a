"""Personal perceptrons against a loop over slices, and where the gates are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import PersonalMLP, StackedMLP

SLICES, BATCH, WIDTH, HIDDEN = 3, 5, 4, 6
UNITS = (7, 2)
PLACEMENTS = {"input": 3, "output": 2}
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(SLICES, BATCH, WIDTH)).astype("float32")
PERSONAL = RNG.normal(size=(3, BATCH, HIDDEN)).astype("float32")
every_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def personal_of(layer):
    """What each gate reads, once for all slices."""
    return [tf.constant(each) for each in PERSONAL[-layer.num_gates :]]


def make(placement, seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    layer = PersonalMLP(SLICES, UNITS, placement=placement, **kwargs)
    layer(INPUTS, personal_of(layer))
    return layer


def randomized(layer):
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def reference(layer, index):
    """Slice `index`: the input of a layer times the factors of the gate before it."""
    gates = [None] * (len(layer.dense) - layer.num_gates) + layer.gates
    personal = [None] * (len(layer.dense) - layer.num_gates) + personal_of(layer)
    outputs = INPUTS[index]
    for i, dense in enumerate(layer.dense):
        if gates[i] is not None:
            kernel, bias = (v.numpy()[index] for v in gates[i].weights)
            logits = personal[i].numpy() @ kernel + bias
            outputs = outputs * 2 / (1 + np.exp(-logits))
        kernel, bias = (v.numpy()[index] for v in dense.weights)
        outputs = outputs @ kernel + bias
        if i < len(UNITS):
            outputs = np.maximum(outputs, 0)
    return outputs


@every_placement
def test_slices_are_those_of_a_loop(placement):
    layer = randomized(make(placement))
    assert layer.num_gates == PLACEMENTS[placement]
    expected = [reference(layer, index) for index in range(SLICES)]
    found = layer(INPUTS, personal_of(layer))
    assert found.shape == (SLICES, BATCH, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@every_placement
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_starts_as_the_ungated_perceptron(placement, policy):
    # One gate of another scale than the others would halve a layer of it.
    layer = make(placement, dtype=policy)
    plain = StackedMLP(SLICES, UNITS, output_units=1, dtype=policy)
    plain.build(INPUTS.shape)
    for mine, theirs in zip(plain.dense, layer.dense, strict=True):
        mine.set_weights(theirs.get_weights())
    inputs = tf.cast(INPUTS, layer.compute_dtype)
    found = layer(inputs, personal_of(layer))
    np.testing.assert_array_equal(
        tf.cast(found, "float32"), tf.cast(plain(inputs), "float32")
    )


@every_placement
def test_every_gate_reaches_two(placement):
    layer = randomized(make(placement))
    for gate in layer.gates:
        kernel, bias = gate.weights
        kernel.assign(tf.zeros_like(kernel))
        bias.assign(tf.fill(bias.shape, 50.0))
    for dense in layer.dense:
        dense.bias.assign(tf.zeros_like(dense.bias))
    plain = StackedMLP(SLICES, UNITS, output_units=1)
    plain.build(INPUTS.shape)
    for mine, theirs in zip(plain.dense, layer.dense, strict=True):
        mine.set_weights(theirs.get_weights())
    # ReLUs without bias pass factors on: each gate doubles.
    np.testing.assert_allclose(
        layer(INPUTS, personal_of(layer)),
        2.0**layer.num_gates * plain(INPUTS),
        rtol=1e-5,
    )


@every_placement
def test_logits_have_no_gate(placement):
    layer = randomized(make(placement))
    widths = [gate.gate.units for gate in layer.gates]
    assert widths == [WIDTH, *UNITS][-layer.num_gates :]
    # A gate on the output would multiply the bias of the last layer too.
    dense = layer.dense[-1]
    dense.kernel.assign(tf.zeros_like(dense.kernel))
    expected = np.repeat(dense.bias.numpy(), BATCH, axis=1)
    np.testing.assert_array_equal(layer(INPUTS, personal_of(layer)), expected)


def test_copies_of_what_gates_read_get_their_gradients_apart():
    layer = randomized(make("input"))
    shared = personal_of(layer)
    copies = [tf.repeat(each[None], SLICES, axis=0) for each in shared]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([shared, copies])
        outputs = layer(INPUTS, copies)
        same = layer(INPUTS, shared)
        alone = tf.unstack(same)
    np.testing.assert_allclose(outputs, same, rtol=1e-5)
    apart = tape.gradient(outputs, copies)
    for index in range(SLICES):
        for found, expected in zip(
            apart, tape.gradient(alone[index], shared), strict=True
        ):
            np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_training_only():
    layer = make("input", dropout=0.5)
    personal = personal_of(layer)
    served = layer(INPUTS, personal)
    np.testing.assert_array_equal(layer(INPUTS, personal, training=False), served)
    assert not np.allclose(layer(INPUTS, personal, training=True), served)


@every_placement
def test_round_trip_of_arguments(placement):
    layer = PersonalMLP(
        2, [3], "tanh", output_units=4, placement=placement, dropout=0.1, name="a"
    )
    revived = PersonalMLP.from_config(layer.get_config())
    assert revived.get_config() == layer.get_config()
    assert (revived.placement, revived.output_units) == (placement, 4)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`placement` must be one of"):
        PersonalMLP(2, [3], placement="inputs")
    with pytest.raises(ValueError, match="`units` must not be empty"):
        PersonalMLP(2, [], placement="output")
    layer = PersonalMLP(SLICES, UNITS)
    with pytest.raises(ValueError, match="a tensor for each of 3 gates. Received: 2"):
        layer(INPUTS, list(PERSONAL[:2]))
