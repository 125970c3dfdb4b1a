import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import DynamicWeightAverage


def run_epoch(aggregator, batches, present=(True, True)):
    """Weights in the last step of the epoch."""
    for losses in batches:
        weights = aggregator.weights(tf.constant(losses, tf.float64), present)
    aggregator.end_epoch()
    return weights.numpy()


def test_weights_match_hand_computation():
    aggregator = DynamicWeightAverage(temperature=0.5)
    assert run_epoch(aggregator, [[3.0, 1.0], [5.0, 3.0]]) == pytest.approx([1, 1])
    assert run_epoch(aggregator, [[2.0, 2.0]]) == pytest.approx([1, 1])
    # The means fell from 4 to 2 and stayed at 2.
    odds = np.exp(np.array([0.5, 1.0]) / 0.5)
    expected = 2.0 * odds / odds.sum()
    assert run_epoch(aggregator, [[9.0, 9.0]]) == pytest.approx(expected)


@pytest.mark.parametrize("sequence", of_method("sequences", "dwa"))
def test_epochs_match_golden_values(sequence):
    aggregator = DynamicWeightAverage(sequence["params"]["temperature"])
    for epoch in sequence["steps"]:
        weights = run_epoch(aggregator, epoch["epoch_batches"], [True] * 3)
        expected = epoch["expected_weights_during_epoch"]
        np.testing.assert_allclose(weights, expected, rtol=sequence["tol64"])


def test_epoch_without_a_task_changes_nothing_for_it():
    aggregator, other = DynamicWeightAverage(), DynamicWeightAverage()
    for method in (aggregator, other):
        run_epoch(method, [[4.0, 4.0]])
        run_epoch(method, [[2.0, 3.0]])
    run_epoch(aggregator, [[1.0, 7.0]], present=[True, False])
    run_epoch(other, [[1.0, 3.0 * 3.0 / 4.0]])
    # The second task keeps the ratio 3/4.
    np.testing.assert_allclose(
        run_epoch(aggregator, [[1.0, 1.0]]), run_epoch(other, [[1.0, 1.0]])
    )


def test_task_with_one_epoch_counts_as_standing_still():
    aggregator = DynamicWeightAverage()
    run_epoch(aggregator, [[4.0, 4.0]], present=[True, False])
    run_epoch(aggregator, [[4.0, 4.0]])
    assert run_epoch(aggregator, [[4.0, 4.0]]) == pytest.approx([1, 1])


def test_task_with_loss_zero_counts_as_standing_still():
    aggregator = DynamicWeightAverage()
    run_epoch(aggregator, [[4.0, 0.0]])
    run_epoch(aggregator, [[4.0, 0.0]])
    assert run_epoch(aggregator, [[4.0, 0.0]]) == pytest.approx([1, 1])


def test_bad_temperature_is_refused():
    with pytest.raises(ValueError, match="`temperature` must be finite and positive"):
        DynamicWeightAverage(temperature=0.0)
