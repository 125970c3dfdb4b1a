import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    all_jacobians,
    gramians,
    row_norms,
    solve_all,
)
from tf_mtl.aggregators.solvers import max_min_in_ball


def mean_of(num_tasks):
    return tf.fill([num_tasks], tf.constant(1.0 / num_tasks, tf.float64))


def solve(jacobian, radius):
    center = mean_of(len(jacobian))
    return max_min_in_ball(tf.constant(jacobian @ jacobian.T), center, radius).numpy()


def test_moves_towards_the_harmed_task():
    # The mean is (0.5, 0.5); equal norms and angles leave the bisector alone, and
    # moving along it by half of its length helps both.
    weights = solve(np.eye(2), 0.5)
    np.testing.assert_allclose(weights, [0.75, 0.75], atol=1e-12)


@pytest.mark.parametrize("radius", [0.1, 0.4, 0.9])
def test_two_tasks_match_scipy(radius):
    jacobian = np.array([[3.0, 1.0], [-1.0, 0.5]])
    mean = jacobian.mean(axis=0)
    reach = radius * np.linalg.norm(mean)

    def objective(share):
        combination = share * jacobian[0] + (1.0 - share) * jacobian[1]
        return mean @ combination + reach * np.linalg.norm(combination)

    share = scipy.optimize.minimize_scalar(
        objective, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12}
    ).x
    combination = share * jacobian[0] + (1.0 - share) * jacobian[1]
    expected = mean + reach * combination / np.linalg.norm(combination)
    # The scalar search sees the objective only to rounding errors.
    np.testing.assert_allclose(solve(jacobian, radius) @ jacobian, expected, atol=1e-6)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
@pytest.mark.parametrize("radius", [0.1, 0.9])
def test_solution_has_no_duality_gap(num_tasks, radius):
    jacobians = all_jacobians(num_tasks)
    # A mean of 0 is a case of its own.
    jacobians = {k: v for k, v in jacobians.items() if not k.startswith("centred")}
    center = mean_of(num_tasks)
    solutions = solve_all(
        lambda gramian: max_min_in_ball(gramian, center, radius), gramians(jacobians)
    )
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
