import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    all_jacobians,
    at_precision,
    gramians,
    row_norms,
    solve_all,
)
from tf_mtl.aggregators.solvers import solve_cosines
from tf_mtl.aggregators.solvers.cosines import unit_rows


def cosines_alone(gramian):
    return unit_rows(gramian)[0]


def test_cosines_and_norms_match_hand_computation():
    jacobian = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    cosines, norms = unit_rows(tf.constant(jacobian @ jacobian.T))
    np.testing.assert_allclose(norms, [5.0, 2.0, 0.0])
    expected = [[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(cosines, expected, atol=1e-15)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_rounded_cosines_become_semi_definite(num_tasks):
    _, rounded = at_precision("float32", all_jacobians(num_tasks))
    cosines = solve_all(cosines_alone, rounded)
    eigenvalues = np.linalg.eigvalsh(cosines)
    assert eigenvalues.min() > -1e-14
    # No more than rounding to float32 explains.
    assert np.abs(cosines).max() < 1.0 + 1e-6 * num_tasks


def test_exact_cosines_are_left_alone():
    jacobians = all_jacobians(6)
    cosines = solve_all(cosines_alone, gramians(jacobians))
    for (name, jacobian), actual in zip(jacobians.items(), cosines, strict=True):
        unit = jacobian / row_norms(jacobian)[:, None]
        np.testing.assert_allclose(actual, unit @ unit.T, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_vector_matches_least_squares(num_tasks):
    jacobians = all_jacobians(num_tasks)
    targets = np.random.default_rng(0).uniform(0.5, 2.0, size=num_tasks)
    solutions = solve_all(solve_cosines, gramians(jacobians), targets)
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        unit_rows = jacobian / row_norms(jacobian)[:, None]
        values = np.linalg.svd(unit_rows, compute_uv=False)
        # The precision of the Gramian, which holds the squares.
        least = np.sqrt(64 * num_tasks * np.finfo(float).eps)
        expected = np.linalg.pinv(unit_rows, rcond=least) @ targets
        lowest = np.min(values[values > least * values[0]]) ** 2
        error = np.linalg.norm(weights @ jacobian - expected)
        # The error of the cosines, by their lowest eigenvalue.
        assert error < 1e-13 * num_tasks / lowest * np.linalg.norm(expected), name


def test_duplicates_share_the_weight():
    jacobian = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    weights = solve_cosines(
        tf.constant(jacobian @ jacobian.T), tf.ones([3], tf.float64)
    )
    np.testing.assert_allclose(weights, [1.0, 0.25, 0.25], rtol=1e-9)


def test_zero_rows_are_left_out():
    weights = solve_cosines(tf.constant(np.diag([4.0, 0.0])), tf.ones([2], tf.float64))
    np.testing.assert_allclose(weights, [0.5, 0.0])
