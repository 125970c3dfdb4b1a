import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    PRECISIONS,
    all_jacobians,
    at_precision,
    gramians,
    row_norms,
    solve_all,
    without_mixed_scales,
)
from tf_mtl.aggregators.solvers import max_min_in_ball


def mean_of(num_tasks):
    return tf.fill([num_tasks], tf.constant(1.0 / num_tasks, tf.float64))


def with_mean(num_tasks):
    """All problems but those with a mean of 0, a case of its own."""
    return {
        name: jacobian
        for name, jacobian in all_jacobians(num_tasks).items()
        if not name.startswith("centred")
    }


def solve(jacobian, radius):
    center = mean_of(len(jacobian))
    return max_min_in_ball(tf.constant(jacobian @ jacobian.T), center, radius).numpy()


def test_moves_towards_the_harmed_task():
    # The mean is (0.5, 0.5); equal norms and angles leave the bisector alone, and
    # moving along it by half of its length helps both.
    weights = solve(np.eye(2), 0.5)
    np.testing.assert_allclose(weights, [0.75, 0.75], atol=1e-12)


def smallest_gain(jacobian, offset, radius):
    """Smallest inner product at an offset from the mean, in units of its length.

    The offset is in units of the radius; a longer one is shortened. Rows are in a
    convenient scale.
    """
    norms = row_norms(jacobian)
    shares = (1.0 / norms) / np.sum(1.0 / norms)
    mean = jacobian.mean(axis=0)
    offset = offset / max(1.0, np.linalg.norm(offset))
    gains = jacobian @ (mean / np.linalg.norm(mean) + radius * offset) / norms
    return np.min(gains / shares)


def best_by_scipy(jacobian, radius):
    """The largest `smallest_gain` that SLSQP finds."""
    norms = row_norms(jacobian)
    unit_rows = jacobian / norms[:, None]
    shares = (1.0 / norms) / np.sum(1.0 / norms)
    mean = jacobian.mean(axis=0)
    gains = unit_rows @ mean / np.linalg.norm(mean)
    start = np.zeros(jacobian.shape[1])
    # The variables are the offset and a bound of the gains.
    above = {
        "type": "ineq",
        "fun": lambda x: gains + radius * unit_rows @ x[:-1] - shares * x[-1],
        "jac": lambda x: np.append(radius * unit_rows, -shares[:, None], axis=1),
    }
    inside = {
        "type": "ineq",
        "fun": lambda x: 1.0 - x[:-1] @ x[:-1],
        "jac": lambda x: np.append(-2.0 * x[:-1], 0.0),
    }
    found = scipy.optimize.minimize(
        lambda x: -x[-1],
        np.append(start, smallest_gain(jacobian, start, radius)),
        jac=lambda x: np.append(start, -1.0),
        method="SLSQP",
        constraints=[above, inside],
        options={"ftol": 1e-12, "maxiter": 300},
    )
    return smallest_gain(jacobian, found.x[:-1], radius)


@PRECISIONS
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_no_point_of_scipy_is_better(num_tasks, precision):
    jacobians, problems = at_precision(precision, with_mean(num_tasks))
    center = mean_of(num_tasks)
    solutions = solve_all(max_min_in_ball, problems, center, 0.4)
    num_equal = 0
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        assert np.all(np.isfinite(weights)), name
        reach = 0.4 * np.linalg.norm(jacobian.mean(axis=0))
        offset = (weights - center.numpy()) @ jacobian / reach
        found = smallest_gain(jacobian, offset, 0.4)
        best = best_by_scipy(jacobian, 0.4)
        if np.all(weights == center.numpy()):
            # Documented: at the center where a combination vanishes.
            assert name.startswith(("opposite", "rank")), name
            continue
        # Inner products 20 decades apart leave few digits of the least of them.
        tolerance = 1e-3 if "mixed" in name else 1e-7
        assert found > best - tolerance * max(1.0, abs(best)), name
        num_equal += found < best + 1e-5 * max(1.0, abs(best))
    # SciPy stops short where norms are many decades apart.
    assert num_equal > 0.7 * len(jacobians)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
@pytest.mark.parametrize("radius", [0.1, 0.9])
def test_solution_has_no_duality_gap(num_tasks, radius):
    jacobians = without_mixed_scales(with_mean(num_tasks))
    center = mean_of(num_tasks)
    solutions = solve_all(max_min_in_ball, gramians(jacobians), center, radius)
    num_at_center = 0
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        norms = row_norms(jacobian)
        mean = jacobian.mean(axis=0)
        reach = radius * np.linalg.norm(mean)
        push = weights - center.numpy()
        if np.all(push == 0.0):
            num_at_center += 1
            continue
        assert np.all(push >= 0.0), name
        vector = mean + push @ jacobian
        share = push * norms / np.sum(push * norms)
        assert np.isclose(np.linalg.norm(push @ jacobian), reach, rtol=1e-8), name
        cosines = jacobian @ vector / (norms * np.linalg.norm(mean))
        dual = push / np.sum(push) @ (jacobian @ vector) / np.linalg.norm(mean)
        assert np.all(cosines > dual / norms - 1e-9), name
        assert np.sum(share * np.abs(cosines - dual / norms)) < 1e-9, name
    # Only where a combination of the rows vanishes.
    assert num_at_center < len(jacobians) / 4


def test_stays_at_the_center_if_a_combination_vanishes():
    # Rows 0 and 1 cancel; no vector helps both, and the mean helps the third.
    jacobian = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(solve(jacobian, 0.5), np.full(3, 1.0 / 3.0))


def test_moves_if_a_combination_vanishes_but_another_loses_more():
    # The origin is inside the triangle, but the last two rows oppose the mean.
    jacobian = np.array([[10.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    expected = 0.5 * jacobian.mean(axis=0)
    np.testing.assert_allclose(solve(jacobian, 0.5) @ jacobian, expected, atol=1e-9)


def test_mean_of_zero_is_returned():
    jacobian = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(solve(jacobian, 0.5), [0.5, 0.5])


def test_radius_of_zero_is_the_center():
    np.testing.assert_array_equal(solve(np.eye(3), 0.0), mean_of(3))


def test_one_task_goes_straight_on():
    np.testing.assert_allclose(solve(np.array([[3e-8, 4e-8]]), 0.4), [1.4])


def test_zero_rows_take_no_part():
    jacobian = np.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 1.0]])
    center = np.array([0.5, 0.0, 0.5])
    gramian = tf.constant(jacobian @ jacobian.T)
    weights = max_min_in_ball(gramian, tf.constant(center), 0.5)
    np.testing.assert_allclose(weights.numpy()[[0, 2]], solve(jacobian[[0, 2]], 0.5))
    assert weights[1] == 0.0


def test_gramian_of_zero_gives_the_center():
    np.testing.assert_array_equal(solve(np.zeros((2, 3)), 0.5), [0.5, 0.5])
