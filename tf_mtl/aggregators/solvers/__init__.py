"""Solvers of the small problems behind the aggregators.

All work in float64 on one Gramian or vector, in a fixed number of steps inside the
graph: no host callback, no shape or trip count that depends on data, compiled by XLA
or not. None depends on the scale of the gradients, and none raises: where a result
does not meet its optimality conditions it is NaN, for the caller to fall back.
"""

from tf_mtl.aggregators.solvers.cosines import (
    cosines_and_norms,
    is_positive,
    row_norms,
    solve_cosines,
    with_exact_rank,
    with_ridge,
)
from tf_mtl.aggregators.solvers.eigen import symmetric_eigen
from tf_mtl.aggregators.solvers.fair import fair_weights
from tf_mtl.aggregators.solvers.max_min import max_min_in_ball
from tf_mtl.aggregators.solvers.min_norm import min_norm_above, min_norm_on_simplex
from tf_mtl.aggregators.solvers.simplex import project_to_simplex

__all__ = [
    "cosines_and_norms",
    "fair_weights",
    "is_positive",
    "max_min_in_ball",
    "min_norm_above",
    "min_norm_on_simplex",
    "project_to_simplex",
    "row_norms",
    "solve_cosines",
    "symmetric_eigen",
    "with_exact_rank",
    "with_ridge",
]
