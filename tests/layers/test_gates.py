"""Softmax gates against plain layers, and gates by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import DSelectKGate, SoftmaxGate
from tf_mtl.layers.gates import make_gate

GATES, EXPERTS, BATCH, WIDTH = 2, 3, 6, 5
INPUTS = np.random.default_rng(0).normal(size=(GATES, BATCH, WIDTH)).astype("float32")
MASK = [[True, False, True], [True, True, True]]


@pytest.mark.parametrize("shared_input", [True, False])
def test_weights_are_softmaxes_of_plain_layers(shared_input):
    gate = SoftmaxGate(GATES, EXPERTS, shared_input=shared_input)
    weights = gate(tf.constant(INPUTS[0] if shared_input else INPUTS))
    for g in range(GATES):
        plain = keras.layers.Dense(EXPERTS, "softmax", use_bias=False)
        plain.build((None, WIDTH))
        plain.kernel.assign(gate.kernel[g])
        expected = plain(INPUTS[0 if shared_input else g])
        np.testing.assert_allclose(weights[g], expected, rtol=1e-5)


def test_experts_that_a_gate_does_not_have_get_no_weight_and_no_gradient():
    gate = SoftmaxGate(GATES, EXPERTS, shared_input=False, mask=MASK)
    inputs = tf.constant(100 * INPUTS)
    with tf.GradientTape() as tape:
        weights = gate(inputs)
        loss = tf.reduce_sum(weights * tf.range(3.0))
    gradient = tape.gradient(loss, gate.kernel.value).numpy()
    assert not weights[0, :, 1].numpy().any() and np.all(np.isfinite(gradient))
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1.0, rtol=1e-6)
    assert not gradient[0, :, 1].any() and gradient[1, :, 1].any()


def test_zeros_start_with_the_mean():
    gate = SoftmaxGate(GATES, EXPERTS, kernel_initializer="zeros")
    np.testing.assert_allclose(gate(tf.constant(INPUTS[0])), 1 / 3, rtol=1e-6)


def test_float16_policy_gives_float32_weights():
    gate = SoftmaxGate(GATES, EXPERTS, mask=MASK, dtype="mixed_float16")
    assert gate(tf.constant(INPUTS[0])).dtype == tf.float32


@pytest.mark.parametrize("mask", [None, MASK])
def test_config_round_trip(mask):
    gate = SoftmaxGate(GATES, EXPERTS, "he_normal", False, mask, name="gate")
    expected = gate(tf.constant(INPUTS))
    config = keras.saving.serialize_keras_object(gate)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == gate.get_config()
    assert clone(tf.constant(INPUTS)).shape == gate.compute_output_shape(INPUTS.shape)
    clone.set_weights(gate.get_weights())
    np.testing.assert_array_equal(clone(tf.constant(INPUTS)), expected)


def test_gates_by_name():
    assert type(make_gate("softmax", 2, 3)) is SoftmaxGate
    assert type(make_gate("dselect_k", 2, 3)) is DSelectKGate
    assert make_gate({"gamma": 0.5}, 2, 3, name="g").gamma == 0.5
    with pytest.raises(ValueError, match="`gate` must be one of.*'softmax'"):
        make_gate("top_k", 2, 3)
    with pytest.raises(ValueError, match="`mask` must hold a row for each gate"):
        make_gate("softmax", 2, 3, mask=[[True, True, True]])
