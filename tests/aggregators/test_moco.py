import numpy as np
import pytest

from tf_mtl.aggregators import MoCo

JACOBIAN = np.array([[1.0, 0.0], [0.0, 2.0]])


def weights_of(direction, rows):
    """Weights of the rows that made a direction."""
    return np.linalg.solve(np.transpose(rows), direction)


def test_first_step_matches_hand_computation():
    # Y is 0.5 J with Gramian diag(0.25, 1), so the slope is (0.125, 0.5). The step of
    # 0.4 goes to (0.45, 0.3), and the projection to (0.575, 0.425).
    direction = MoCo(beta=0.5, gamma=0.4)(JACOBIAN)
    np.testing.assert_allclose(
        weights_of(direction, 0.5 * JACOBIAN), [0.575, 0.425], rtol=1e-6
    )


def test_softmax_of_the_same_step():
    direction = MoCo(beta=0.5, gamma=0.4, projection="softmax")(JACOBIAN)
    expected = np.exp([0.45, 0.3]) / np.exp([0.45, 0.3]).sum()
    np.testing.assert_allclose(
        weights_of(direction, 0.5 * JACOBIAN), expected, rtol=1e-6
    )


def test_rho_pulls_the_weights_together():
    def gap(rho):
        aggregator = MoCo(beta=1.0, beta_decay=0.0, rho=rho)
        for _ in range(3):
            direction = aggregator(JACOBIAN)
        first, second = weights_of(direction, JACOBIAN)
        return first - second

    assert gap(0.0) > gap(1.0) > 0.0


def test_rows_are_tracked_with_a_falling_rate():
    aggregator = MoCo(beta=0.5, gamma=0.0)
    tracked = np.zeros((2, 2))
    for step, scale in enumerate([1.0, -2.0, 0.5], start=1):
        rows = scale * JACOBIAN
        tracked += 0.5 / np.sqrt(step) * (rows - tracked)
        np.testing.assert_allclose(aggregator(rows), tracked.mean(0), rtol=1e-6)


def test_weights_approach_those_of_mgda():
    aggregator = MoCo(beta=1.0, beta_decay=0.0, gamma_decay=0.0)
    for _ in range(100):
        direction = aggregator(JACOBIAN)
    # The shortest mixture of orthogonal rows of squared norms 1 and 4.
    np.testing.assert_allclose(direction, [0.8, 0.4], rtol=1e-6)


def test_normalized_rows_have_the_loss_as_norm():
    aggregator = MoCo(beta=1.0, gamma=0.0, normalize_rows=True)
    direction = aggregator(JACOBIAN, losses=[3.0, 5.0])
    np.testing.assert_allclose(direction, [1.5, 2.5])


def test_losses_are_needed_for_normalized_rows_only():
    MoCo()(JACOBIAN)
    with pytest.raises(ValueError, match="`losses` must be given to MoCo"):
        MoCo(normalize_rows=True)(JACOBIAN)


def test_a_task_that_held_all_the_weight_may_be_absent():
    aggregator = MoCo(gamma=1e6)
    # The shorter row gets all the weight.
    np.testing.assert_allclose(aggregator(JACOBIAN), [0.5, 0.0])
    direction = aggregator(JACOBIAN, present=[False, True])
    assert direction[0] == 0.0
    assert direction[1] > 0.0
    direction = aggregator(JACOBIAN, present=[True, True])
    assert np.all(np.isfinite(direction))
    assert aggregator.fallback_count.numpy() == 0


def test_huge_rows_keep_weights_that_sum_to_one():
    rows = 1e9 * np.array([[1.0, 0.0], [0.0, 1.0 + 1e-3]])
    direction = MoCo()(rows)
    assert weights_of(direction, 0.5 * rows).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "argument",
    [{"beta": 0.0}, {"gamma": -1.0}, {"rho": -1.0}, {"projection": "sphere"}],
    ids=str,
)
def test_argument_outside_its_range_is_refused(argument):
    [name] = argument
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        MoCo(**argument)
