"""DSelect-k gates against a slow reference."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import DSelectKGate

GATES, BATCH, WIDTH = 2, 6, 5
INPUTS = np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype("float32")
every_kind = pytest.mark.parametrize("per_example", [True, False])


def make(num_experts=5, seed=0, training=False, **kwargs):
    """A gate that was called once, with logits large enough to tell experts apart."""
    keras.utils.set_random_seed(seed)
    gate = DSelectKGate(GATES, num_experts, **kwargs)
    inputs = INPUTS if gate.shared_input else np.stack([INPUTS] * GATES)
    gate(tf.constant(inputs))
    rng = np.random.default_rng(seed)
    for variable in gate.weights:
        variable.assign(rng.normal(scale=0.2, size=variable.shape))
    weights = gate(tf.constant(inputs), training=training)
    return gate, weights.numpy()


def smooth_step(value, gamma):
    """As the paper prints it."""
    if value <= -gamma / 2:
        return 0.0
    if value >= gamma / 2:
        return 1.0
    return -2 / gamma**3 * value**3 + 3 / (2 * gamma) * value + 0.5


def logits(gate, source, g, b):
    if not gate.per_example:
        return source.numpy()[g, 0]
    return INPUTS[b] @ source.kernel.numpy()[g] + source.bias.numpy()[g, 0]


def selectors(gate, g, b):
    """What each selector of gate `g` gives each expert for row `b`."""
    codes = logits(gate, gate.code, g, b).reshape(gate.num_selectors, -1)
    found = np.ones((gate.num_selectors, gate.num_experts))
    places = itertools.product(range(gate.num_selectors), range(gate.num_experts))
    for k, e in places:
        for i, value in enumerate(codes[k]):
            step = smooth_step(value, gate.gamma)
            found[k, e] *= step if e & (1 << i) else 1 - step
    return found


@every_kind
@pytest.mark.parametrize("num_experts", [2, 4, 5])
def test_weights_are_those_of_the_equations(per_example, num_experts):
    gate, actual = make(num_experts, num_selectors=3, per_example=per_example, gamma=2)
    for g, b in itertools.product(range(GATES), range(BATCH)):
        exponents = np.exp(logits(gate, gate.selector, g, b))
        expected = exponents / exponents.sum() @ selectors(gate, g, b)
        np.testing.assert_allclose(actual[g, b], expected, rtol=1e-5, atol=1e-6)


@every_kind
@pytest.mark.parametrize("num_experts", [4, 5])
def test_losses_are_means_over_the_batch(per_example, num_experts):
    # So wide a step that no selector settles on a code of no expert.
    arguments = {"per_example": per_example, "gamma": 4, "entropy_weight": 0.1}
    gate, _ = make(num_experts, training=True, **arguments)
    expected = 0.0
    for g, b in itertools.product(range(GATES), range(BATCH)):
        found = selectors(gate, g, b)
        if num_experts == 5:
            expected += np.sum(1 / found.sum(axis=1))
        expected -= 0.1 * np.sum(found * np.log(found + 1e-6))
    [loss] = gate.losses
    assert loss.numpy() == pytest.approx(expected / BATCH, rel=1e-5)


def test_losses_are_added_in_training_and_where_they_are_needed():
    assert not make(entropy_weight=0.1)[0].losses
    assert not make(4, training=True)[0].losses
    assert len(make(5, training=True)[0].losses) == 1


@every_kind
def test_settled_gate_mixes_at_most_so_many_experts(per_example):
    gate, _ = make(8, per_example=per_example)
    for variable in gate.weights:
        if "code" in variable.path:
            variable.assign(100.0 * variable)
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        weights = gate(inputs)
        loss = tf.reduce_sum(weights * tf.range(8.0))
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1.0, rtol=1e-6)
    assert np.count_nonzero(weights, axis=-1).max() <= 2
    code = gate.code.kernel if per_example else gate.code
    np.testing.assert_array_equal(tape.gradient(loss, code.value), 0.0)


def test_gate_without_a_reachable_expert_stays_finite():
    gate, _ = make(5, per_example=False)
    # Both selectors on code 7, which is no expert.
    gate.code.assign(tf.ones_like(gate.code))
    with tf.GradientTape() as tape:
        weights = gate(tf.constant(INPUTS), training=True)
        [loss] = gate.losses
    np.testing.assert_array_equal(weights, 0.0)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(tape.gradient(loss, gate.code.value)))


def test_losses_do_not_reach_the_inputs_but_weights_do():
    gate, _ = make(5, entropy_weight=0.1)
    inputs = tf.constant(INPUTS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        weights = gate(inputs, training=True)
        [loss] = gate.losses
    assert tape.gradient(loss, inputs) is None
    assert np.any(tape.gradient(loss, gate.code.kernel.value) != 0)
    assert np.any(tape.gradient(weights[..., 0], inputs) != 0)


def test_each_gate_sends_its_gradient_to_its_copy():
    gate, expected = make()
    copies = tf.constant(np.stack([INPUTS] * GATES))
    with tf.GradientTape() as tape:
        tape.watch(copies)
        weights = gate(copies)
        first = weights[0, :, 0]
    np.testing.assert_array_equal(weights, expected)
    gradient = tape.gradient(first, copies).numpy()
    assert gradient[0].any()
    assert not gradient[1].any()


@every_kind
def test_a_gate_gives_no_weight_to_an_expert_that_it_does_not_have(per_example):
    arguments = {"per_example": per_example, "gamma": 4}
    plain, expected = make(4, **arguments)
    mask = [[True, False, True, True], [True] * 4]
    gate, weights = make(4, mask=mask, training=True, **arguments)
    np.testing.assert_allclose(weights, expected * np.array(mask)[:, None], rtol=1e-6)
    # The code of that expert is one of no expert, though there are four.
    rest = [
        np.where(mask[g], selectors(plain, g, b), 0).sum(axis=1)
        for g, b in itertools.product(range(GATES), range(BATCH))
    ]
    [loss] = gate.losses
    assert loss.numpy() == pytest.approx(np.sum(1 / np.array(rest)) / BATCH, rel=1e-5)


@every_kind
def test_each_gate_may_read_an_input_of_its_own(per_example):
    gate, _ = make(per_example=per_example, shared_input=False)
    assert gate.get_config()["shared_input"] is False
    several = np.stack([INPUTS, 2 * INPUTS])
    alike, _ = make(per_example=per_example)
    for g, inputs in enumerate(several):
        expected = alike(tf.constant(inputs))[g]
        found = gate(tf.constant(several))[g]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@every_kind
def test_gates_and_selectors_start_apart_and_undecided(per_example):
    keras.utils.set_random_seed(0)
    gate = DSelectKGate(GATES, 4, gamma=2.0, per_example=per_example)
    weights = gate(tf.constant(INPUTS)).numpy()
    np.testing.assert_allclose(weights, 0.25, atol=0.1)
    assert not np.allclose(weights[0], weights[1], atol=1e-6)
    code = gate.code.kernel if per_example else gate.code
    assert 0.01 < np.abs(code).max() <= 0.02


def test_float16_policy_gives_float32_weights():
    gate = DSelectKGate(GATES, 4, dtype="mixed_float16")
    assert gate(tf.constant(INPUTS)).dtype == tf.float32


@every_kind
def test_config_round_trip(per_example):
    mask = [[True] * 5, [True, False, True, True, False]]
    arguments = {"num_selectors": 3, "gamma": 0.5, "mask": mask}
    gate, expected = make(5, per_example=per_example, **arguments)
    config = keras.saving.serialize_keras_object(gate)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == gate.get_config()
    assert clone(tf.constant(INPUTS)).shape == gate.compute_output_shape(INPUTS.shape)
    clone.set_weights(gate.get_weights())
    np.testing.assert_array_equal(clone(tf.constant(INPUTS)), expected)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_gates": 0}, "`num_gates` must be at least 1"),
        ({"num_experts": 1}, "`num_experts` must be at least 2"),
        ({"num_selectors": 0}, "`num_selectors` must be at least 1"),
        ({"gamma": 0.0}, "`gamma` must be above 0"),
        ({"entropy_weight": -1.0}, "`entropy_weight` must be at least 0"),
        ({"mask": [[True] * 4]}, "`mask` must hold a row for each gate"),
        ({"mask": [[True] * 4, [False] * 4]}, "at least one True"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        DSelectKGate(**{"num_gates": 2, "num_experts": 4, **arguments})
