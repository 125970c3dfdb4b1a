"""Sum or mean over tasks: the common scale of the weights."""

from typing import Literal, get_args

import tensorflow as tf

Reduction = Literal["sum", "mean"]


def check_reduction(reduction: Reduction) -> Reduction:
    """Returns `reduction`, or raises ValueError if it is neither sum nor mean."""
    if reduction not in get_args(Reduction):
        raise ValueError(
            f"`reduction` must be 'sum' or 'mean'. Received: reduction={reduction!r}."
        )
    return reduction


def reduction_factor(reduction: Reduction, present: tf.Tensor) -> tf.Tensor:
    """Factor that each present task's row enters the direction with.

    Args:
        reduction: `"sum"` or `"mean"`, the mean being over present tasks.
        present: bool tensor of shape `(num_tasks,)`.

    Returns:
        float64 scalar. 1 if no task is present.
    """
    if reduction == "sum":
        return tf.ones([], tf.float64)
    return 1.0 / tf.maximum(tf.reduce_sum(tf.cast(present, tf.float64)), 1.0)
