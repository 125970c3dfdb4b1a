"""The shortest vector among combinations of rows."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.solvers.cosines import unit_rows
from tf_mtl.aggregators.solvers.interior_point import (
    Solve,
    follow_central_path,
    newton_solver,
)

_NUM_STEPS = 20
# Largest violation of the optimality conditions, as a cosine, of a result.
_TOLERANCE = 1e-8


def min_norm_on_simplex(
    gramian: tf.Tensor, present: tf.Tensor | None = None
) -> tf.Tensor:
    """Weights of the shortest vector in the convex hull of the rows.

    Minimises `w' G w` over `w >= 0` that sum to 1. The vector has the same inner
    product, its squared norm, with all rows of positive weight, and no smaller one
    with the others. It is unique, its weights are if the rows are independent. Rows
    of norm 0 share all the weight.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows and
            columns of absent tasks 0.
        present: bool tensor of shape `(num_tasks,)`, False for a task that gets
            weight 0. None: all present.

    Returns:
        float64 tensor of shape `(num_tasks,)`. NaN if the optimality conditions are
        not met to 1e-8, relative to the norms.
    """
    cosines, norms = unit_rows(gramian)
    if present is None:
        present = tf.ones_like(norms, tf.bool)
    # Variables are the weights times the norms, so the rows enter the condition that
    # the weights sum to 1 by their inverse norms, here in a convenient scale.
    inverse_norms = tf.where(present, tf.math.divide_no_nan(1.0, norms), 0.0)
    normal = tf.math.divide_no_nan(inverse_norms, tf.reduce_sum(inverse_norms))
    start = tf.cast(normal > 0.0, tf.float64)
    solution, gradient = _minimize(cosines, start, tf.zeros_like(norms), normal)
    violation = normal * tf.reduce_sum(solution * gradient) - gradient
    weights = _nan_if_violated(solution * normal, violation, tf.reduce_sum(solution))
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
    zero_rows = tf.cast(present & (norms == 0.0), tf.float64)
    num_zero_rows = tf.reduce_sum(zero_rows)
    return tf.where(num_zero_rows > 0.0, zero_rows / num_zero_rows, weights)


def min_norm_above(gramian: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    """Weights of the shortest vectors whose weights have lower bounds.

    Minimises `v' G v` over `v >= u` for each row `u` of `lower`. With the Gramian of
    the rows, the vector is the projection of the combination `u` of the rows onto
    the dual cone: it has inner products >= 0 with all rows.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite. Without a
            ridge the weights of dependent rows are not unique.
        lower: float64 tensor of shape `(num_problems, num_tasks)`, finite.

    Returns:
        float64 tensor of shape `(num_problems, num_tasks)`. Rows of norm 0 get their
        lower bound. NaN in a problem whose optimality conditions are not met to
        1e-8, relative to the norms.
    """
    cosines, norms = unit_rows(gramian)
    # Variables are the distances from the bounds, times the norms.
    bounds = lower * norms
    scale = tf.reduce_sum(tf.abs(bounds), axis=1, keepdims=True)
    bounds = tf.math.divide_no_nan(bounds, scale)
    start = tf.cast((norms > 0.0) & (scale > 0.0), tf.float64)
    linear = tf.linalg.matvec(cosines, bounds)
    solution, gradient = _minimize(cosines, start, linear)
    size = tf.reduce_sum(tf.abs(bounds + solution), axis=1, keepdims=True)
    distances = _nan_if_violated(solution * scale, -gradient, size)
    return lower + tf.math.divide_no_nan(distances, norms)


def _minimize(
    cosines: tf.Tensor,
    start: tf.Tensor,
    linear: tf.Tensor,
    normal: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimises `x' C x / 2 + linear . x` over `x >= 0`, if asked `normal . x = 1`.

    Returns:
        The solution and the gradient there, both like `start`.
    """

    def gradient(primal: tf.Tensor) -> tf.Tensor:
        return linear + tf.linalg.matvec(cosines, primal)

    def linearize(primal: tf.Tensor, dual: tf.Tensor, free: Any) -> Solve:
        change = newton_solver(cosines, gradient(primal), primal, dual, normal)
        return lambda wanted, _: (change(wanted), ())

    dual = start * tf.maximum(gradient(start), 0.5)
    solution = follow_central_path(linearize, start, dual, _NUM_STEPS)
    return solution, gradient(solution)


def _nan_if_violated(
    values: tf.Tensor, violation: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """The values, or NaN where an inner product of size `size` is off by too much."""
    worst = tf.reduce_max(violation, axis=-1, keepdims=True)
    return tf.where(worst <= _TOLERANCE * size, values, float("nan"))
