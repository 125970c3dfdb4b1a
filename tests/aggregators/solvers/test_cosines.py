import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    all_jacobians,
    gramians,
    regular_jacobians,
    row_norms,
    solve_all,
)
from tf_mtl.aggregators.solvers import solve_cosines
from tf_mtl.aggregators.solvers.cosines import unit_rows


def test_cosines_and_norms_match_hand_computation():
    jacobian = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    cosines, norms = unit_rows(tf.constant(jacobian @ jacobian.T))
    np.testing.assert_allclose(norms, [5.0, 2.0, 0.0])
    expected = [[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(cosines, expected, atol=1e-15)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_rounded_cosines_become_semi_definite(num_tasks):
    jacobians = all_jacobians(num_tasks)
    rounded = [row.astype(np.float32) for row in jacobians.values()]
    rounded = np.stack([rows @ rows.T for rows in rounded]).astype(np.float64)
    cosines = solve_all(lambda gramian: unit_rows(gramian)[0], rounded)
    eigenvalues = np.linalg.eigvalsh(cosines)
    assert eigenvalues.min() > -1e-14
    # No more than rounding to float32 explains.
    assert np.abs(cosines).max() < 1.0 + 1e-6 * num_tasks


def test_exact_cosines_are_left_alone():
    jacobians = all_jacobians(6)
    cosines = solve_all(lambda gramian: unit_rows(gramian)[0], gramians(jacobians))
    for (name, jacobian), actual in zip(jacobians.items(), cosines, strict=True):
        unit = jacobian / row_norms(jacobian)[:, None]
        np.testing.assert_allclose(actual, unit @ unit.T, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_weights_reach_the_targets(num_tasks):
    jacobians = {
        name: jacobian
        for name, jacobian in regular_jacobians(num_tasks).items()
        if not name.startswith(("parallel", "duplicate"))
    }
    targets = np.random.default_rng(0).uniform(0.5, 2.0, size=num_tasks)
    solutions = solve_all(
        lambda gramian: solve_cosines(gramian, tf.constant(targets)),
        gramians(jacobians),
    )
    for (name, jacobian), weights in zip(jacobians.items(), solutions, strict=True):
        reached = jacobian @ (weights @ jacobian) / row_norms(jacobian)
        # Cosines of nearly parallel rows differ by 1e-6, and the ridge is 1e-12.
        tolerance = 1e-4 if name.startswith("nearly") else 1e-8
        np.testing.assert_allclose(reached, targets, rtol=tolerance, err_msg=name)


def test_duplicates_share_the_weight():
    jacobian = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    weights = solve_cosines(
        tf.constant(jacobian @ jacobian.T), tf.ones([3], tf.float64)
    )
    # The ridge is felt where the cosines leave the choice.
    np.testing.assert_allclose(weights, [1.0, 0.25, 0.25], rtol=1e-4)


def test_zero_rows_are_left_out():
    weights = solve_cosines(tf.constant(np.diag([4.0, 0.0])), tf.ones([2], tf.float64))
    np.testing.assert_allclose(weights, [0.5, 0.0])
