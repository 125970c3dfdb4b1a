import numpy as np
import pytest

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import IMTLL


def with_log_scales(values, **kwargs):
    aggregator = IMTLL(**kwargs)
    aggregator.build(len(values))
    aggregator._log_scales.assign(values)
    return aggregator


def test_weights_match_hand_computation():
    log_scales = [0.0, np.log(2.0), 0.0]
    losses = [2.0, 0.25, 1.0]
    aggregator = with_log_scales(log_scales, learning_rate=0.1)
    np.testing.assert_allclose(aggregator.weights(losses), [1.0, 2.0, 1.0])
    # The gradients are 1, -1/2 and 0, and the first step of Adam is their sign.
    moved = np.array(log_scales) + [-0.1, 0.1, 0.0]
    np.testing.assert_allclose(aggregator.weights(losses), np.exp(moved))


def test_scaled_losses_end_at_one():
    aggregator = IMTLL(learning_rate=0.05)
    losses = np.array([3.0, 0.2])
    for _ in range(200):
        weights = aggregator.weights(losses)
    np.testing.assert_allclose(weights * losses, [1.0, 1.0], rtol=1e-2)


def test_weight_of_a_perfect_task_is_limited():
    aggregator = with_log_scales([9.95], learning_rate=0.1)
    for _ in range(3):
        aggregator.weights([0.0])
    np.testing.assert_allclose(aggregator.weights([0.0]), [np.exp(10.0)])


@pytest.mark.parametrize("sequence", of_method("sequences", "imtl_l"))
def test_step_matches_golden_value(sequence):
    [step] = sequence["steps"]
    aggregator = with_log_scales(step["log_scales"])
    np.testing.assert_allclose(
        aggregator.weights(np.array(step["losses"])),
        step["expected_gradient_weights"],
        rtol=sequence["tol64"],
    )
    moved = aggregator._log_scales.numpy() - step["log_scales"]
    # The first step of Adam tells the sign of the gradient.
    expected = -np.sign(step["expected_grad_log_scales"])
    np.testing.assert_array_equal(np.sign(moved), expected)


def test_bad_learning_rate_is_refused():
    with pytest.raises(ValueError, match="`learning_rate` must be finite and positive"):
        IMTLL(learning_rate=-1.0)
