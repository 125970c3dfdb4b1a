"""The primal-dual interior-point method that the constrained solvers share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

# Ridge of a scaled Newton system of size 1, so that rounding leaves it definite.
_RIDGE = 8.0 * float(np.finfo(np.float64).eps)

# Where the mean product of primal and dual variables is below the first number, a step
# that multiplies it by the second is made of rounding errors.
_CONVERGED = float(np.finfo(np.float64).eps)
_DIVERGES = 100.0

# Takes the wanted change of the products of primal and dual variables, and the
# changes of the free variables in the predictor (None in the predictor itself).
# Returns the relative changes of the primal variables and the changes of the free.
Solve = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any]]


def follow_central_path(
    linearize: Callable[[tf.Tensor, tf.Tensor, Any], Solve],
    primal: tf.Tensor,
    dual: tf.Tensor,
    num_steps: int,
    share: float = 0.99,
    free: Any = (),
) -> tf.Tensor:
    """Mehrotra's predictor-corrector method, in a fixed number of steps.

    A step linearises the optimality conditions once and solves them twice. The
    predictor aims at products `primal * dual` of 0, and shows how far one gets. The
    corrector aims at equal products, the smaller the better the predictor did, and
    allows for its second-order terms. Changes are relative to the variables, which
    may so shrink by many decades without loss of digits. Once rounding errors are all
    that is left to follow, the variables stay where they are.

    Args:
        linearize: function of `primal`, `dual` and `free`, returns a `Solve`.
        primal: float64 tensor of shape `(..., num_variables)`, where to start.
            Positive, or 0 for a variable that stays 0 and has no part in anything.
        dual: float64 tensor like `primal`, 0 in the same places.
        num_steps: int.
        share: float below 1, see `step_length`.
        free: nested float64 tensors, further variables that `linearize` needs.

    Returns:
        The last `primal`.
    """
    active = tf.cast(primal > 0.0, tf.float64)
    count = tf.maximum(tf.reduce_sum(active, -1, keepdims=True), 1.0)

    def step(primal: tf.Tensor, dual: tf.Tensor, free: Any) -> tuple:
        products = primal * dual
        mean = tf.reduce_sum(products, -1, keepdims=True) / count
        solve = linearize(primal, dual, free)

        change, free_change = solve(-products, None)
        dual_change = -active - change
        length = step_length(change, dual_change, 1.0)
        reached = products * (1.0 + length * change) * (1.0 + length * dual_change)
        mean_reached = tf.reduce_sum(reached, -1, keepdims=True) / count
        aim = active * tf.math.divide_no_nan(mean_reached**3, mean**2)

        second_order = change * dual_change
        change, free_change = solve(
            aim - products - products * second_order, free_change
        )
        dual_change = (
            tf.math.divide_no_nan(aim, products) - active - second_order - change
        )
        length = step_length(change, dual_change, share)
        new_primal = primal * (1.0 + length * change)
        new_dual = dual * (1.0 + length * dual_change)
        new_mean = tf.reduce_sum(new_primal * new_dual, -1, keepdims=True) / count
        # Not so where it is NaN.
        is_progress = (mean >= _CONVERGED) | (new_mean <= _DIVERGES * mean)
        new_free = tf.nest.map_structure(lambda x, d: x + length * d, free, free_change)
        return tf.nest.map_structure(
            lambda new, old: tf.where(is_progress, new, old),
            (new_primal, new_dual, new_free),
            (primal, dual, free),
        )

    primal, _, _ = tf.while_loop(
        lambda *_: True, step, (primal, dual, free), maximum_iterations=num_steps
    )
    return primal


def newton_solver(
    hessian: tf.Tensor,
    gradient: tf.Tensor,
    primal: tf.Tensor,
    dual: tf.Tensor,
    normal: tf.Tensor | None = None,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Solves the optimality conditions of one step for the primal variables.

    They are `gradient + hessian dx = dual + d_dual + multiplier * normal`, a wanted
    change of the products `primal * dual`, and `normal . (primal + dx) = 1`.

    Args:
        hessian: float64 tensor of shape `(..., num_variables, num_variables)`,
            positive semi-definite.
        gradient: float64 tensor of shape `(..., num_variables)`.
        primal: float64 tensor of shape `(..., num_variables)`.
        dual: float64 tensor of shape `(..., num_variables)`.
        normal: float64 tensor of shape `(..., num_variables)`. None: no multiplier
            and no such condition.

    Returns:
        Function from the wanted change of the products to the relative change
        `dx / primal`, both float64 of shape `(..., num_variables)`.
    """
    size = primal.shape[-1]
    products = primal * dual
    matrix = primal[..., :, None] * hessian * primal[..., None, :]
    matrix += tf.linalg.diag(products)
    diagonal = tf.linalg.diag_part(matrix)
    scale = tf.math.rsqrt(tf.where(diagonal > 0.0, diagonal, 1.0))
    matrix = scale[..., :, None] * matrix * scale[..., None, :]
    factor = tf.linalg.cholesky(matrix + size * _RIDGE * tf.eye(size, dtype=tf.float64))

    def solve(vector: tf.Tensor) -> tf.Tensor:
        scaled = tf.linalg.cholesky_solve(factor, (scale * vector)[..., None])
        return scale * scaled[..., 0]

    def change(wanted: tf.Tensor) -> tf.Tensor:
        return solve(wanted + products - primal * gradient)

    if normal is None:
        return change

    # The multiplier is what makes the change meet the condition.
    row = normal * primal
    response = solve(row)

    def change_on_plane(wanted: tf.Tensor) -> tf.Tensor:
        unconstrained = change(wanted)
        missing = 1.0 - tf.reduce_sum(row * (1.0 + unconstrained), -1, keepdims=True)
        reach = tf.reduce_sum(row * response, -1, keepdims=True)
        return unconstrained + tf.math.divide_no_nan(missing, reach) * response

    return change_on_plane


def step_length(change: tf.Tensor, dual_change: tf.Tensor, share: float) -> tf.Tensor:
    """Length of a step that keeps the variables positive.

    Args:
        change: float64 tensor of shape `(..., num_variables)`, relative change of the
            primal variables in a step of length 1.
        dual_change: float64 tensor like `change`, that of the dual variables.
        share: float, at most 1. If some variable would become negative, the share of
            the way to where the first of them is 0.

    Returns:
        float64 tensor of shape `(..., 1)`, at most 1.
    """
    steepest = tf.reduce_max(-tf.concat([change, dual_change], -1), -1, keepdims=True)
    return tf.where(steepest > share, share / steepest, 1.0)
