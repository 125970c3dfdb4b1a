import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    PRECISIONS,
    all_jacobians,
    at_precision,
    row_norms,
    size,
    solve_all,
)
from tf_mtl.aggregators.solvers import min_norm_above, min_norm_on_simplex


def shortest_by_scipy(jacobian):
    """Shortest vector in the convex hull, by least squares that are not negative.

    They fit a vector of 0 and a sum of 1; what they leave of these is in proportion.
    """
    norms = row_norms(jacobian)
    shares = (1.0 / norms) / np.sum(1.0 / norms)
    system = np.concatenate([jacobian.T / norms, shares[None]])
    target = np.append(np.zeros(jacobian.shape[1]), 1.0)
    weights = scipy.optimize.nnls(system, target)[0] * shares
    return weights @ jacobian / np.sum(weights)


def test_weights_on_an_edge_match_hand_computation():
    # The origin projects onto the inside of the edge from (2, 0) to (0, 1).
    jacobian = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    weights = min_norm_on_simplex(tf.constant(jacobian @ jacobian.T))
    np.testing.assert_allclose(weights, [0.2, 0.8, 0.0], atol=1e-12)


def test_weights_at_a_corner_are_one_hot():
    jacobian = np.array([[1.0, 0.0], [2.0, 1.0]])
    weights = min_norm_on_simplex(tf.constant(jacobian @ jacobian.T))
    np.testing.assert_allclose(weights, [1.0, 0.0], atol=1e-12)


@PRECISIONS
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_simplex_solution_is_optimal(num_tasks, precision):
    jacobians, problems = at_precision(precision, all_jacobians(num_tasks))
    solutions = solve_all(min_norm_on_simplex, problems)
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        vector = weights @ jacobian
        scale = size(weights, jacobian)
        gains = jacobian @ vector
        squared_norm = vector @ vector
        assert weights.min() >= 0.0, name
        assert abs(weights.sum() - 1.0) < 1e-12, name
        # Inner products as cosines: no row gains less than the squared norm.
        excess = (gains - squared_norm) / (row_norms(jacobian) * scale)
        assert excess.min() > -1e-12, name
        assert np.sum(weights * np.abs(gains - squared_norm)) < 1e-12 * scale**2, name
        # Squaring the rows to their Gramian leaves half of the digits where the
        # vector is far shorter than its parts.
        error = np.linalg.norm(vector - shortest_by_scipy(jacobian))
        assert error < 1e-7 * scale, name


def test_simplex_leaves_out_absent_tasks():
    present = np.array([True, False, True, True])
    jacobian = np.random.default_rng(0).normal(size=(4, 6)) * present[:, None]
    weights = min_norm_on_simplex(tf.constant(jacobian @ jacobian.T), present)
    others = jacobian[present]
    expected = min_norm_on_simplex(tf.constant(others @ others.T))
    np.testing.assert_allclose(weights.numpy()[present], expected, atol=1e-12)
    assert weights[1] == 0.0


def test_zero_rows_share_the_weight():
    gramian = tf.constant(np.diag([1.0, 0.0, 0.0, 0.0]))
    present = [True, True, True, False]
    weights = min_norm_on_simplex(gramian, present)
    np.testing.assert_array_equal(weights, [0.0, 0.5, 0.5, 0.0])


def test_no_present_task_gives_weights_of_zero():
    weights = min_norm_on_simplex(tf.zeros([2, 2], tf.float64), [False, False])
    np.testing.assert_array_equal(weights, [0.0, 0.0])


def test_one_task_gets_weight_one():
    np.testing.assert_allclose(
        min_norm_on_simplex(tf.constant([[9e-20]], "float64")), [1.0]
    )


def test_lower_bound_of_conflict_matches_hand_computation():
    # (1, 0) is moved along (-1, 1) until they are orthogonal: by half of it.
    jacobian = np.array([[1.0, 0.0], [-1.0, 1.0]])
    lower = tf.constant([[1.0, 0.0], [0.0, 1.0]], tf.float64)
    weights = min_norm_above(tf.constant(jacobian @ jacobian.T), lower)
    np.testing.assert_allclose(weights, [[1.0, 0.5], [1.0, 1.0]], atol=1e-12)


@PRECISIONS
@pytest.mark.parametrize(
    ("num_tasks", "ridge"), [(2, 0.0), (3, 1e-4), (6, 0.0), (14, 1e-4)]
)
def test_lower_bounded_solution_matches_scipy(num_tasks, ridge, precision):
    jacobians = all_jacobians(num_tasks)
    # A ridge is the same as an own direction for each row.
    for name, jacobian in jacobians.items():
        own = np.sqrt(ridge) * np.linalg.norm(jacobian) * np.eye(num_tasks)
        jacobians[name] = np.concatenate([jacobian, own], axis=1)
    jacobians, problems = at_precision(precision, jacobians)
    lower = np.eye(num_tasks) / num_tasks
    solutions = solve_all(min_norm_above, problems, lower)
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        assert np.all(weights >= lower), name
        unit_rows = jacobian / row_norms(jacobian)[:, None]
        for task, row_weights in enumerate(weights):
            start = lower[task] @ jacobian
            scale = size(row_weights, jacobian)
            above, _ = scipy.optimize.nnls(unit_rows.T, -start / scale)
            expected = start + scale * above @ unit_rows
            vector = row_weights @ jacobian
            error = np.linalg.norm(vector - expected)
            # What is minimised is the square, which has twice the digits near 0.
            longer = vector @ vector - expected @ expected
            bound = 2e-9 * np.linalg.norm(expected) * scale + 1e-15 * scale**2
            assert longer < bound, name
            # Half of the digits, as above. Where norms are 20 decades apart SciPy
            # may stop at a vector that is not the shortest.
            assert error < 1e-7 * scale or "mixed" in name, name
            assert np.min(unit_rows @ vector) > -1e-8 * scale, name


def test_lower_bounds_of_zero_rows_and_of_zero():
    gramian = tf.constant(np.diag([4.0, 0.0]))
    lower = tf.constant([[0.5, 0.5], [0.0, 0.5], [0.0, 0.0]], tf.float64)
    np.testing.assert_allclose(min_norm_above(gramian, lower), lower, atol=1e-12)
