import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import IGBv1


def test_weights_match_hand_computation():
    aggregator = IGBv1(base_epoch=0, temperature=2.0)
    losses = tf.constant([2.0, 0.5], tf.float64)
    np.testing.assert_allclose(aggregator.weights(losses), [0.5, 2.0])
    aggregator.end_epoch()
    losses = tf.constant([1.0, 1.0], tf.float64)
    # Gaps of 1/2 and 2.
    odds = np.exp([0.25, 1.0])
    np.testing.assert_allclose(aggregator.weights(losses), 2.0 * odds / odds.sum())


@pytest.mark.parametrize("sequence", of_method("sequences", "igb_v1"))
def test_steps_match_golden_values(sequence):
    aggregator = IGBv1(base_epoch=sequence["params"]["base_epoch"])
    epoch = 0
    for step in sequence["steps"]:
        if step["epoch"] > epoch:
            aggregator.end_epoch()
            epoch = step["epoch"]
        np.testing.assert_allclose(
            aggregator.weights(tf.constant(step["losses"], tf.float64)),
            step["expected_gradient_weights"],
            rtol=sequence["tol64"],
        )


def test_perfect_task_keeps_a_finite_weight():
    weights = IGBv1().weights(tf.constant([0.0, 1.0], tf.float64))
    np.testing.assert_allclose(weights, [1e8, 1.0])


@pytest.mark.parametrize(("name", "value"), [("base_epoch", -1), ("temperature", 0.0)])
def test_bad_argument_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        IGBv1(**{name: value})
