import numpy as np
import pytest

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import GradNorm

LOSSES = [1.0, 1.0, 1.0]


def task_weights(aggregator):
    return aggregator._task_weights.numpy()


def test_weights_match_hand_computation():
    aggregator = GradNorm(learning_rate=0.1)
    gramian = np.diag([1.0, 4.0, 36.0])
    np.testing.assert_allclose(aggregator.weights(gramian, LOSSES), np.ones(3))
    # Norms 1, 2 and 6 meet a target of 3: the first step of Adam is the sign. The sum
    # goes back from 3.1 to 3.
    expected = np.array([1.1, 1.1, 0.9]) * 3.0 / 3.1
    np.testing.assert_allclose(aggregator.weights(gramian, LOSSES), expected, rtol=1e-6)


def test_task_that_lags_behind_gets_a_larger_weight():
    aggregator = GradNorm(learning_rate=0.1)
    aggregator.weights(np.eye(2), [1.0, 1.0])
    aggregator.weights(np.eye(2), [0.9, 0.1])
    weights = task_weights(aggregator)
    assert weights[0] > 1.0 > weights[1]


@pytest.mark.parametrize("sequence", of_method("sequences", "gradnorm"))
def test_weights_match_golden_values(sequence):
    aggregator = GradNorm(sequence["params"]["alpha"], sequence["params"]["lr"])
    for step in sequence["steps"]:
        rows = np.array(step["J"])
        weights = aggregator.weights(rows @ rows.T, step["losses"])
        for actual, name in (
            (weights, "expected_weights_used"),
            (task_weights(aggregator), "expected_weights_after"),
        ):
            np.testing.assert_allclose(actual, step[name], rtol=sequence["tol64"])


def test_norms_alone_are_read():
    random = np.random.default_rng(0)
    aggregator, diagonal = GradNorm(), GradNorm()
    for _ in range(3):
        rows = random.normal(size=(3, 5))
        gramian = rows @ rows.T
        np.testing.assert_array_equal(
            aggregator.weights(gramian, LOSSES),
            diagonal.weights(np.diag(np.diag(gramian)), LOSSES),
        )


def test_weights_keep_their_sum_and_their_floor():
    aggregator = GradNorm(learning_rate=0.5)
    gramian = np.diag([1.0, 1.0, 1e6])
    for _ in range(10):
        aggregator.weights(gramian, LOSSES)
        weights = task_weights(aggregator)
        assert weights.sum() == pytest.approx(3.0)
        assert np.all(weights > 5e-4)


def test_absent_task_keeps_its_weight_and_the_others_their_sum():
    aggregator = GradNorm(learning_rate=0.1)
    gramian = np.diag([1.0, 4.0, 36.0])
    aggregator.weights(gramian, LOSSES)
    before = task_weights(aggregator)
    weights = aggregator.weights(gramian, LOSSES, [True, False, True])
    np.testing.assert_allclose(weights, before * [1.0, 0.0, 1.0])
    after = task_weights(aggregator)
    assert after[1] == before[1]
    assert after[0] > before[0]
    assert after.sum() == pytest.approx(3.0)


def test_task_that_comes_late_starts_with_its_own_first_loss():
    aggregator = GradNorm()
    aggregator.weights(np.eye(2), [8.0, 1.0], [False, True])
    aggregator.weights(np.eye(2), [2.0, 1.0])
    np.testing.assert_allclose(aggregator._first_losses, [2.0, 1.0])


def test_first_loss_of_zero_is_no_reference():
    aggregator = GradNorm()
    for losses in ([0.0, 1.0], [0.5, 1.0]):
        aggregator.weights(np.eye(2), losses)
    np.testing.assert_allclose(aggregator._first_losses, [0.5, 1.0])
    assert aggregator.fallback_count.numpy() == 0


@pytest.mark.parametrize(("name", "value"), [("alpha", -1.0), ("learning_rate", 0.0)])
def test_bad_argument_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be finite and"):
        GradNorm(**{name: value})
