import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import FAMO

BEFORE = tf.constant([1.0, 3.0], tf.float64)
RATES = np.array([0.9, 0.7])


def logits(aggregator):
    return aggregator._logits.numpy()


def test_weights_match_hand_computation():
    aggregator = FAMO()
    # Inverse losses, scaled to the sum 1.
    np.testing.assert_allclose(aggregator.weights(BEFORE), [0.75, 0.25], rtol=1e-7)


def test_task_that_improved_more_loses_weight():
    aggregator = FAMO(learning_rate=0.1, gamma=0.0)
    aggregator.weights(BEFORE)
    aggregator.observe(BEFORE * [0.5, 0.9])
    # The first step of Adam is the sign of the gradient.
    np.testing.assert_allclose(logits(aggregator), [-0.1, 0.1], rtol=1e-6)


def test_equal_rates_change_nothing():
    aggregator = FAMO()
    aggregator.weights(BEFORE)
    aggregator.observe(BEFORE * 0.9)
    # The 1e-8 in the gaps leaves a tiny gradient, which Adam blows up.
    np.testing.assert_allclose(logits(aggregator), [0.0, 0.0], atol=1e-3)


def test_min_losses_are_taken_off():
    aggregator = FAMO(min_losses=[0.5, 1.0])
    np.testing.assert_allclose(aggregator.weights(BEFORE), [0.8, 0.2], rtol=1e-7)


def test_loss_below_its_least_value_counts_as_equal_to_it():
    aggregator = FAMO(min_losses=[2.0, 1.0])
    weights = aggregator.weights(BEFORE)
    aggregator.observe(BEFORE)
    np.testing.assert_allclose(weights, [1.0, 0.0], atol=1e-8)
    assert aggregator.fallback_count.numpy() == 0


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("sequence", of_method("sequences", "famo"))
def test_steps_match_golden_values(sequence, jit_compile):
    params = sequence["params"]
    aggregator = FAMO(params["lr"], params["gamma"])
    aggregator.build(3)

    def step(before, after):
        weights = aggregator.weights(before)
        aggregator.observe(after)
        return weights

    if jit_compile is not None:
        step = tf.function(step, jit_compile=jit_compile)
    for values in sequence["steps"]:
        weights = step(
            tf.constant(values["losses_before"], tf.float64),
            tf.constant(values["losses_after"], tf.float64),
        )
        for actual, name in (
            (weights, "expected_gradient_weights"),
            (logits(aggregator), "expected_logits_after"),
        ):
            error = np.linalg.norm(actual - values[name])
            assert error <= sequence["tol64"] * np.linalg.norm(values[name])


def test_absent_task_keeps_its_logit_and_does_not_count():
    known = np.array([True, False, True])
    with_absent, without = FAMO(), FAMO()
    for scale in (0.5, 1.2):
        losses = np.array([1.0, np.nan, 3.0])
        with_absent.weights(losses, known)
        with_absent.observe(losses * [scale, 1.0, 0.9], known)
        without.weights(losses[known])
        without.observe(losses[known] * [scale, 0.9])
    expected = np.zeros(3)
    expected[known] = logits(without)
    np.testing.assert_allclose(logits(with_absent), expected, rtol=1e-12)


@pytest.mark.parametrize(("every", "looked_at"), [(1, [0, 1, 2, 3]), (3, [0, 3])])
@pytest.mark.parametrize("jit_compile", [None, True])
def test_losses_are_evaluated_in_every_nth_step_alone(every, looked_at, jit_compile):
    aggregator, by_hand = FAMO(second_pass_every=every), FAMO()
    aggregator.build(2)
    evaluations = tf.Variable(0)

    def step(before, after):
        def evaluate():
            evaluations.assign_add(1)
            return after

        weights = aggregator.weights(before)
        updated = aggregator.updated_losses(evaluate)
        aggregator.observe(updated)
        return weights, updated

    if jit_compile is not None:
        step = tf.function(step, jit_compile=jit_compile)
    for index in range(4):
        before, after = (BEFORE * RATES ** float(k) for k in (index, index + 1))
        weights, updated = step(before, after)
        assert np.isnan(updated).all() == (index not in looked_at)
        np.testing.assert_allclose(weights, by_hand.weights(before), rtol=1e-12)
        if index in looked_at:
            by_hand.observe(after)
    assert evaluations.numpy() == len(looked_at)
    assert aggregator.fallback_count.numpy() == 0


def test_without_second_pass_a_fixed_training_set_gives_the_same_weights():
    twice, once = FAMO(), FAMO(second_pass_every=None)
    assert twice.observes_update and not once.observes_update
    for step in range(5):
        before, after = (BEFORE * RATES ** float(k) for k in (step, step + 1))
        found = once.weights(before)
        np.testing.assert_allclose(found, twice.weights(before), rtol=1e-12)
        twice.observe(after)


def test_without_second_pass_only_tasks_seen_before_are_compared():
    aggregator = FAMO(learning_rate=0.1, gamma=0.0, second_pass_every=None)
    aggregator.weights([1.0, 3.0, np.nan], [True, True, False])
    aggregator.weights([0.5, 2.7, 2.0])
    np.testing.assert_allclose(logits(aggregator), [-0.1, 0.1, 0.0], rtol=1e-6)
    # What the absent third task was is compared with when it is back.
    aggregator.weights([0.5, np.nan, np.nan], [True, False, False])
    np.testing.assert_allclose(aggregator._last_gaps, [0.5, 2.7, 2.0])


def test_observation_that_is_not_finite_is_ignored():
    aggregator = FAMO()
    aggregator.weights(BEFORE)
    aggregator.observe([np.nan, 1.0])
    np.testing.assert_array_equal(logits(aggregator), [0.0, 0.0])


def test_observation_without_tasks_is_ignored():
    aggregator = FAMO()
    aggregator.weights(BEFORE, [False, False])
    aggregator.observe(BEFORE, [False, False])
    np.testing.assert_array_equal(logits(aggregator), [0.0, 0.0])
    assert aggregator.fallback_count.numpy() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0.0), ("gamma", -1.0), ("second_pass_every", 0)],
)
def test_bad_argument_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        FAMO(**{name: value})
