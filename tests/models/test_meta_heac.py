"""MetaHeac's network against a slow reference, and its mixture of critics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import models
from tf_mtl.models.meta_heac import mixture_logit

from .plain import perceptron, softmax, weighted_sum
from .problem import FEATURES, TASKS, WIDTHS, as_tensors, make_batch


def make(seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    own = {"num_experts": 3, "num_critics": 2, "gate_units": 5}
    own |= {"expert_units": WIDTHS, "tower_units": (3,), "task_embedding_dim": 4}
    return models.MetaHeac(FEATURES, TASKS, **{**own, **kwargs})


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def gate_weights(gate, task, embedded):
    """Softmax of two dense layers on the vector of a task and the features."""
    joined = np.concatenate([np.tile(task, (len(embedded), 1)), embedded], axis=1)
    hidden = np.maximum(joined @ gate.kernel.numpy() + gate.bias.numpy(), 0)
    kernel, bias = gate.output_layer.weights
    return softmax(hidden @ kernel.numpy() + bias.numpy())


def reference(model, inputs):
    """Predictions by the equations of the paper: a loop over tasks and all parts."""
    embedded = model.embed(inputs, training=False).numpy()
    experts = [perceptron(model.expert, e, embedded) for e in range(model.num_experts)]
    found = {}
    for task, vector in zip(TASKS, model.task_embedding.numpy(), strict=True):
        weights = gate_weights(model.expert_gate, vector, embedded)
        mixed = weighted_sum(weights, experts)
        weights = gate_weights(model.critic_gate, vector, embedded)
        total = 0.0
        for j in range(model.num_critics):
            value = perceptron(model.critic, j, mixed)[:, 0]
            if task.kind == "binary":
                value = 1 / (1 + np.exp(-value))
            total += weights[:, j] * value
        found[task.name] = total
    return found


def test_predictions_are_those_of_a_loop(batch):
    model = make()
    expected = reference(model, batch[0])
    for name, values in model.predictions(batch[0]).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6)


def test_weights_of_critics_add_up_so_that_predictions_may_reach_one(batch):
    model = make(num_critics=5)
    bias = model.critic.dense[-1].bias
    bias.assign(tf.fill(bias.shape, 20.0))
    for name in ("click", "like"):
        assert np.all(model.predictions(batch[0])[name].numpy() > 0.999)


def test_tasks_differ_by_their_vectors_alone(batch):
    model = make()
    outputs = np.stack(model.task_outputs(batch[0], training=False))
    assert not np.allclose(outputs[0], outputs[1], atol=1e-6)
    model.task_embedding.assign(tf.zeros_like(model.task_embedding))
    outputs = np.stack(model.task_outputs(batch[0], training=False))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-7)


def test_mixture_logit_is_that_of_the_mixed_probability():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(4, 50))
    weights = rng.dirichlet(np.ones(4), size=50).T
    mixed = np.sum(weights / (1 + np.exp(-logits)), axis=0)
    np.testing.assert_allclose(
        mixture_logit(tf.constant(logits), tf.constant(np.log(weights))),
        np.log(mixed / (1 - mixed)),
        rtol=1e-9,
    )


@pytest.mark.parametrize("size", [30.0, 1000.0])
def test_mixture_logit_neither_saturates_nor_overflows(size):
    logits = tf.constant([[size, -size, size], [size, -size, -size]])
    log_weights = tf.math.log(tf.constant([[0.25] * 3, [0.75] * 3]))
    with tf.GradientTape() as tape:
        tape.watch([logits, log_weights])
        mixed = mixture_logit(logits, log_weights)
    # Of two critics that contradict each other, one part in four says yes.
    expected = [size, -size, np.log(0.25 / 0.75)]
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)
    for gradient in tape.gradient(mixed, [logits, log_weights]):
        assert np.all(np.isfinite(gradient))


def test_experts_and_critics_start_apart():
    model = make()
    for mlp in (model.expert, model.critic):
        kernel = mlp.dense[0].kernel.numpy()
        flat = kernel.reshape(len(kernel), -1)
        assert len(np.unique(flat, axis=0)) == len(flat)
        assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape[1:]))


def test_mixed_bfloat16_keeps_the_mixture_in_float32(batch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make()
        model.compile("sgd", "gradcraft", "representation", run_eagerly=True)
        logs = model.train_on_batch(*batch, return_dict=True)
        read = model.task_inputs(model.representations(batch[0], False), False)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.expert.compute_dtype == "bfloat16"
    assert read.dtype == tf.float32
    assert np.isfinite(logs["loss"])
    assert logs["skipped_updates"] == 0


def test_config_round_trip(batch):
    model = make(num_critics=4, dropout=0.5)
    clone = models.MetaHeac.from_config(model.get_config())
    assert clone.get_config() == model.get_config()
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        clone.task_outputs(batch[0], False), model.task_outputs(batch[0], False)
    )


@pytest.mark.parametrize(
    "name", ["num_experts", "num_critics", "gate_units", "task_embedding_dim"]
)
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1"):
        make(**{name: 0})
