"""Weights in balance with the progress of each task: Nash bargaining and kin."""

import tensorflow as tf

from tf_mtl.aggregators.solvers.cosines import unit_rows
from tf_mtl.aggregators.solvers.interior_point import newton_solver, step_length

_NUM_STEPS = 30
_SHARE = 0.99
# Keeps the weights finite where a combination of the rows vanishes, and moves those
# of other rows by about as much. It acts on cosines.
_RIDGE = 1e-10
# Largest relative error of a result. Weights of 1e5, where a combination of the rows
# vanishes, leave but few digits.
_TOLERANCE = 1e-3


def fair_weights(
    gramian: tf.Tensor, alpha: float = 1.0, targets: tf.Tensor | None = None
) -> tf.Tensor:
    """Weights with `w_t ** (1 / alpha) * (g_t . d) = targets_t`, `d` their vector.

    All inner products `g_t . d`, the progress of the tasks, are positive. The larger
    `alpha`, the more alike they are. A target is the unit that the progress of its
    task is measured in: with twice the target, a task gets the same weight at twice
    the progress. For `alpha=1` the vector maximises the product of the progress
    raised to the targets, the bargaining powers, among vectors of its length.

    If no vector has only positive inner products, the weights are large and their
    vector is short, as a ridge of 1e-10 on the cosines has it.

    Args:
        gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows and
            columns of absent tasks 0.
        alpha: float, positive. The steps suffice for 1 and 2 whatever the rows, for
            values up to 5 unless norms are many decades apart.
        targets: float64 tensor of shape `(num_tasks,)`, positive. None: ones.

    Returns:
        float64 tensor of shape `(num_tasks,)`, positive, but 0 for rows of norm 0.
        NaN if the equation is not met to 1e-3.
    """
    cosines, norms = unit_rows(gramian)
    active = norms > 0.0
    if targets is None:
        targets = tf.ones_like(norms)
    targets = tf.where(active, targets, 0.0)
    largest = tf.reduce_max(norms)
    norms = tf.math.divide_no_nan(norms, largest)
    cosines += _RIDGE * tf.eye(norms.shape[0], dtype=tf.float64)
    products = norms[:, None] * cosines * norms[None, :]

    def mismatch(weights: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
        """Relative error of the equation, 0 for rows of norm 0."""
        power = weights ** (1.0 / alpha)
        ratio = tf.math.divide_no_nan(targets, power * progress)
        return tf.where(active, ratio - 1.0, 0.0)

    def step(weights: tf.Tensor, progress: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Newton's method for the relative changes of the weights and of the
        # progress, which becomes `products @ weights` only on the way.
        force = tf.linalg.matvec(products, weights)
        error = mismatch(weights, progress)
        change = newton_solver(products, force, weights, progress / alpha)(
            weights * progress * (1.0 + error - 1.0 / alpha)
        )
        progress_change = error - change / alpha
        length = step_length(change, progress_change, _SHARE)
        return (
            weights * (1.0 + length * change),
            progress * (1.0 + length * progress_change),
        )

    # Equal parts of the unit rows, at the length where the equation holds on average.
    exponent = alpha / (1.0 + alpha)
    weights = tf.math.divide_no_nan(1.0, norms)
    wanted = tf.reduce_sum(
        targets * tf.math.divide_no_nan(weights, weights ** (1.0 / alpha))
    )
    squared_length = tf.reduce_sum(weights * tf.linalg.matvec(products, weights))
    length = tf.math.divide_no_nan(wanted, squared_length) ** exponent
    weights *= length
    progress = tf.maximum(tf.linalg.matvec(products, weights), 0.5 * length * norms)
    weights, progress = tf.while_loop(
        lambda *_: True, step, (weights, progress), maximum_iterations=_NUM_STEPS
    )
    progress = tf.linalg.matvec(products, weights)
    error = tf.reduce_max(tf.abs(mismatch(weights, progress)))
    # For the Gramian as it was, not divided by the largest squared norm.
    weights *= tf.math.divide_no_nan(1.0, largest ** (2.0 * exponent))
    return tf.where(error <= _TOLERANCE, weights, float("nan"))
