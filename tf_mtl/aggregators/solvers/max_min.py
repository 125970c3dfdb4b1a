"""The vector in a ball that helps the worst-off task most."""

import tensorflow as tf

from tf_mtl.aggregators.solvers.cosines import unit_rows
from tf_mtl.aggregators.solvers.interior_point import (
    Solve,
    follow_central_path,
    newton_solver,
)

# With 60, up to four of a hundred problems with norms 20 decades apart are not solved.
_NUM_STEPS = 100
# The ball is curved: close to its surface steps would become short.
_SHARE = 0.9
# Largest violation of the optimality conditions, as a cosine, of a result.
_TOLERANCE = 1e-8
# A convex combination this short, relative to the norms, counts as 0: of its
# direction only rounding errors would be left.
_SHORTEST = 1e-6
# What rounding may take from a squared norm, relative to the square of the sum of the
# norms that were combined.
_ROUNDING = 1e-14


def max_min_in_ball(gramian: tf.Tensor, center: tf.Tensor, radius: float) -> tf.Tensor:
    """Weights of the vector in a ball whose smallest inner product is largest.

    Maximises `min_t g_t . d` over the vectors `d` with `|d - d_0| <= radius |d_0|`,
    where `d_0` is the combination `center` of the rows `g_t`. It is reached at
    `d_0 + radius |d_0| g_w / |g_w|` for the convex combination `g_w` of the rows
    that minimises `d_0 . g_w + radius |d_0| |g_w|`. If that combination is 0, to
    1e-6 of the norms, its direction is undefined and the answer is `d_0`.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows and
            columns of absent tasks 0. Rows of norm 0 take no part in the minimum.
        center: float64 tensor of shape `(num_tasks,)`.
        radius: float, at least 0.

    Returns:
        float64 tensor of shape `(num_tasks,)`. NaN if the optimality conditions are
        not met to 1e-8, relative to the norms.
    """
    if radius == 0.0:
        return center
    cosines, norms = unit_rows(gramian)
    product = tf.linalg.matvec(cosines, norms * center)
    center_norm = tf.sqrt(tf.maximum(tf.reduce_sum(norms * center * product), 0.0))
    center_gains = tf.math.divide_no_nan(product, center_norm)
    # Variables are the weights times the norms, so the rows enter the condition that
    # the weights sum to 1 by their inverse norms, here in a convenient scale.
    inverse_norms = tf.math.divide_no_nan(1.0, norms)
    normal = tf.math.divide_no_nan(inverse_norms, tf.reduce_sum(inverse_norms))

    weights = _multipliers(cosines, center_gains, normal, radius)
    product = tf.linalg.matvec(cosines, weights)
    length = tf.sqrt(tf.maximum(tf.reduce_sum(weights * product), 0.0))
    gains = center_gains + radius * tf.math.divide_no_nan(product, length)
    violation = tf.reduce_max(normal * tf.reduce_sum(weights * gains) - gains)
    push = tf.math.divide_no_nan(weights * inverse_norms, length)
    moved = tf.where(
        violation <= _TOLERANCE, center + radius * center_norm * push, float("nan")
    )
    vanishes = length <= _SHORTEST * tf.reduce_sum(weights)
    return tf.where(vanishes | (center_norm == 0.0), center, moved)


def _multipliers(
    cosines: tf.Tensor, center_gains: tf.Tensor, normal: tf.Tensor, radius: float
) -> tf.Tensor:
    """Minimises `center_gains . w + radius |g_w|` over `w >= 0` with `normal . w = 1`.

    The problem is solved together with its dual, the one above: `w` and `s`, which
    is `radius |g_w|` in the end, are the Lagrange multipliers of the rows and of the
    ball. The conditions are linearised in these and, separately, in the position in
    the unit ball, and so stay regular where `g_w` is 0.
    """
    size = tf.maximum(tf.math.count_nonzero(normal, dtype=tf.float64), 1.0)

    def linearize(primal: tf.Tensor, dual: tf.Tensor, position: tf.Tensor) -> Solve:
        # The last variable is what `s` exceeds a floor by, below which `g_w` is 0.
        weights, excess = primal[:-1], primal[-1]
        s = excess + 0.5 * _SHORTEST * radius * tf.reduce_sum(weights)
        product = tf.linalg.matvec(cosines, position)
        squared_norm = tf.reduce_sum(position * product)
        pull = radius / s * tf.linalg.matvec(cosines, weights)
        tension = 0.5 + 0.5 * squared_norm - tf.reduce_sum(position * pull)
        # The condition lets nothing change along the normal. The curvature there is
        # only to keep the system regular.
        curvature = radius**2 / s * cosines + s * normal[:, None] * normal[None, :]
        rounding = _ROUNDING * tf.reduce_sum(tf.abs(position)) ** 2
        relative_change = newton_solver(
            _bordered(curvature, -radius / s * product, (squared_norm + rounding) / s),
            _append(center_gains + radius * pull, tension),
            primal,
            dual,
            _append(normal, 0.0),
        )

        def solve(
            wanted: tf.Tensor, predicted: tf.Tensor | None
        ) -> tuple[tf.Tensor, tf.Tensor]:
            if predicted is not None:
                # Second-order term of the squared norm of the position.
                bend = tf.reduce_sum(predicted * tf.linalg.matvec(cosines, predicted))
                wanted += _append(tf.zeros_like(weights), 0.5 * excess * bend)
            change = relative_change(wanted)
            new_weights = weights * (1.0 + change[:-1])
            new_s = s + excess * change[-1]
            return change, (radius * new_weights - new_s * position) / s

        return solve

    weights = tf.cast(normal > 0.0, tf.float64)
    position = 0.5 * weights / size
    product = tf.linalg.matvec(cosines, position)
    slack = tf.maximum(center_gains + radius * product + normal, 0.5)
    depth = 0.5 - 0.5 * tf.reduce_sum(position * product)
    primal = follow_central_path(
        linearize,
        _append(weights, radius * size),
        _append(weights * slack, depth),
        _NUM_STEPS,
        _SHARE,
        position,
    )
    return primal[:-1]


def _append(vector: tf.Tensor, value: tf.Tensor | float) -> tf.Tensor:
    """The vector with one more entry."""
    return tf.concat([vector, [value]], axis=0)


def _bordered(matrix: tf.Tensor, side: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
    """The symmetric matrix with one more row and column."""
    wide = tf.concat([matrix, side[:, None]], axis=1)
    return tf.concat([wide, _append(side, corner)[None, :]], axis=0)
