"""Gates of all tasks by one network, against plain layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import TaskGate

RNG = np.random.default_rng(0)
TASKS = RNG.normal(size=(3, 2)).astype("float32")
INPUTS = RNG.normal(size=(6, 5)).astype("float32")


def test_each_task_passes_plain_layers_next_to_the_inputs():
    gate = TaskGate(4, 7)
    gate(TASKS, INPUTS)
    hidden, output = keras.layers.Dense(7, "relu"), keras.layers.Dense(4)
    hidden.build((None, 7))
    output.build((None, 7))
    gate.bias.assign(RNG.normal(size=7))
    logits = gate(TASKS, INPUTS)
    weights = [gate.kernel, gate.bias, *gate.output_layer.weights]
    for mine, plain in zip(weights, hidden.weights + output.weights, strict=True):
        plain.assign(mine)
    assert logits.shape == (3, 6, 4)
    for t, task in enumerate(TASKS):
        joined = np.concatenate([np.tile(task, (6, 1)), INPUTS], axis=1)
        np.testing.assert_allclose(
            logits[t], output(hidden(joined)), rtol=1e-4, atol=1e-5
        )


def test_first_layer_has_the_fan_of_a_plain_one():
    gate = TaskGate(4, 300)
    gate(tf.zeros([3, 60]), tf.zeros([1, 240]))
    limit = np.sqrt(6 / (300 + 300))
    assert np.abs(gate.kernel).max() == pytest.approx(limit, rel=0.01)


def test_config_round_trip():
    gate = TaskGate(4, 7, name="gate")
    expected = gate(TASKS, INPUTS)
    config = keras.saving.serialize_keras_object(gate)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == gate.get_config()
    clone(TASKS, INPUTS)
    clone.set_weights(gate.get_weights())
    np.testing.assert_array_equal(clone(TASKS, INPUTS), expected)


@pytest.mark.parametrize("argument", ["units", "hidden_units"])
def test_sizes_must_be_positive(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be at least 1"):
        TaskGate(**{"units": 2, argument: 0})
