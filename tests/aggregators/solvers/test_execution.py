import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.solvers.problems import (
    all_jacobians,
    gramians,
    size,
    solve_all,
)
from tf_mtl.aggregators import solvers

MEAN = tf.fill([6], tf.constant(1.0 / 6.0, tf.float64))
SOLVERS = {
    "min_norm_on_simplex": solvers.min_norm_on_simplex,
    "min_norm_above": lambda gramian: tf.reduce_sum(
        solvers.min_norm_above(gramian, tf.linalg.diag(MEAN)), axis=0
    ),
    "max_min_in_ball": lambda gramian: solvers.max_min_in_ball(gramian, MEAN, 0.4),
    "fair_weights": solvers.fair_weights,
    "project_to_simplex": lambda gramian: solvers.project_to_simplex(gramian[0]),
    "solve_cosines": lambda gramian: solvers.solve_cosines(gramian, 6.0 * MEAN),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_graph_and_xla_agree(name):
    """And nothing raises: outside XLA a failed factorisation does."""
    jacobians = all_jacobians(6)
    # Rounded as a Gramian of float32 is.
    jacobians = {k: v.astype(np.float32) for k, v in jacobians.items()}
    problems = gramians(jacobians).astype(np.float64)
    compiled = solve_all(SOLVERS[name], problems)
    plain = solve_all(SOLVERS[name], problems, jit_compile=False)
    assert np.all(np.isfinite(plain))
    for (case, jacobian), actual, expected in zip(
        jacobians.items(), compiled, plain, strict=True
    ):
        error = np.linalg.norm((actual - expected) @ jacobian.astype(np.float64))
        assert error <= 1e-8 * size(expected, jacobian), case


@pytest.mark.parametrize("name", SOLVERS)
def test_eager_agrees(name):
    jacobian = np.random.default_rng(0).normal(size=(6, 8))
    problem = jacobian @ jacobian.T
    [expected] = solve_all(SOLVERS[name], problem[None])
    actual = SOLVERS[name](tf.constant(problem))
    np.testing.assert_allclose(actual, expected, atol=1e-8)
