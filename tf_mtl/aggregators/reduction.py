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


def reduced(reduction: Reduction, shares: tf.Tensor) -> tf.Tensor:
    """Factors that the rows enter the direction with.

    Args:
        reduction: `"mean"`: the shares themselves. `"sum"`: shares times the number of
            present tasks, 1 each if they are equal.
        shares: float64 tensor of shape `(num_tasks,)`, the share of each task in the
            mean, 0 where absent.

    Returns:
        float64 tensor of shape `(num_tasks,)`.
    """
    if reduction == "mean":
        return shares
    return shares * tf.cast(tf.math.count_nonzero(shares), tf.float64)
