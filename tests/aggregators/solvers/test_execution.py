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


def project_first_row(gramian):
    return solvers.project_to_simplex(gramian[0])


# With arguments after the Gramian.
SOLVERS = [
    (solvers.min_norm_on_simplex,),
    (solvers.min_norm_above, tf.linalg.diag(MEAN)),
    (solvers.max_min_in_ball, MEAN, 0.4),
    (solvers.fair_weights, 1.0, 6.0 * MEAN),
    (project_first_row,),
    (solvers.solve_cosines, 6.0 * MEAN),
]
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s[0].__name__)


@EVERY_SOLVER
def test_graph_and_xla_agree(solver):
    """And nothing raises: outside XLA a failed factorisation does."""
    jacobians = all_jacobians(6)
    # Rounded as a Gramian of float32 is.
    jacobians = {k: v.astype(np.float32) for k, v in jacobians.items()}
    problems = gramians(jacobians).astype(np.float64)
    function, *arguments = solver
    compiled = solve_all(function, problems, *arguments)
    plain = solve_all(function, problems, *arguments, jit_compile=False)
    assert np.all(np.isfinite(plain))
    for (case, jacobian), actual, expected in zip(
        jacobians.items(), compiled, plain, strict=True
    ):
        error = np.linalg.norm((actual - expected) @ jacobian.astype(np.float64))
        assert error <= 1e-8 * size(expected, jacobian), case


@EVERY_SOLVER
def test_eager_agrees(solver):
    jacobian = np.random.default_rng(0).normal(size=(6, 8))
    problem = jacobian @ jacobian.T
    function, *arguments = solver
    [expected] = solve_all(function, problem[None], *arguments)
    actual = function(tf.constant(problem), *arguments)
    np.testing.assert_allclose(actual, expected, atol=1e-8)
