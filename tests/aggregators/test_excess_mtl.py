import numpy as np
import pytest

from tf_mtl.aggregators import ExcessMTL

JACOBIAN = np.array([[3.0, 4.0], [0.0, -2.0]])


def weights_of(direction):
    """Weights of the rows that made a direction."""
    return np.linalg.solve(JACOBIAN.T, direction)


def test_first_step_leaves_the_weights_alone():
    np.testing.assert_allclose(ExcessMTL()(JACOBIAN), JACOBIAN.sum(0))


def test_weights_follow_the_excess():
    aggregator = ExcessMTL(step_size=0.5)
    aggregator(JACOBIAN)
    # The sums of absolute values are 7 and 2. Then the second row is twice as long:
    # 9 / sqrt(18) + 16 / sqrt(32) is 7 / sqrt(2), and 16 / sqrt(4 + 16) of the other.
    direction = aggregator(JACOBIAN * [[1.0], [2.0]])
    growth = np.exp(0.5 * np.array([1 / np.sqrt(2), 16 / np.sqrt(20) / 2]))
    expected = 2 * growth / growth.sum()
    weights = weights_of(direction) / [1.0, 2.0]
    # State is float32, and squares get 1e-7 added.
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_a_zero_row_waits_with_its_first_excess():
    aggregator = ExcessMTL(step_size=0.5)
    aggregator(JACOBIAN * [[1.0], [0.0]])
    aggregator(JACOBIAN)
    direction = aggregator(JACOBIAN)
    growth = np.exp(0.5 * np.array([1 / np.sqrt(2) + 1 / np.sqrt(3), 1 / np.sqrt(2)]))
    np.testing.assert_allclose(
        weights_of(direction), 2 * growth / growth.sum(), rtol=1e-6
    )


def test_an_absent_task_keeps_its_state():
    aggregator = ExcessMTL(step_size=0.5)
    aggregator(JACOBIAN)
    before = [variable.numpy() for variable in aggregator.variables]
    direction = aggregator(JACOBIAN, present=[False, True])
    np.testing.assert_allclose(direction, JACOBIAN[1])
    for variable, old in zip(aggregator.variables, before, strict=True):
        if variable.shape == (2,):
            assert variable[0] == old[0]


def test_large_steps_do_not_overflow():
    aggregator = ExcessMTL(step_size=1e3)
    for _ in range(3):
        direction = aggregator(JACOBIAN * [[1.0], [2.0]])
    assert np.all(np.isfinite(direction))
    assert aggregator.fallback_count.numpy() == 0


@pytest.mark.parametrize("name", ["step_size", "eps"])
def test_argument_that_is_not_positive_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be finite and positive"):
        ExcessMTL(**{name: 0.0})
