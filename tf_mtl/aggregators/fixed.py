"""Fixed task weights."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register


@register("fixed")
class FixedWeighting(LossWeighting):
    """Gives every task the weight that the user chose.

    The weights are used as they are: the others do not grow when a task is absent,
    and one task gets its gradient times its weight.

    Args:
        weights: sequence of `num_tasks` floats, finite and not negative, in the
            order of the tasks. None: 1 for each.

    Raises:
        ValueError: if a weight is negative or not finite; in `build` if there are
            not as many weights as tasks.
    """

    uses_losses = False

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.task_weights = None if weights is None else [float(w) for w in weights]
        if not all(math.isfinite(w) and w >= 0 for w in self.task_weights or ()):
            raise ValueError(
                "`weights` must be finite and not negative. "
                f"Received: weights={self.task_weights}."
            )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"weights": self.task_weights}

    def _check_num_tasks(self, num_tasks: int) -> None:
        if self.task_weights is not None and len(self.task_weights) != num_tasks:
            raise ValueError(
                f"`weights` must hold one weight for each of {num_tasks} tasks. "
                f"Received: weights={self.task_weights}."
            )

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        if self.task_weights is None:
            return tf.ones_like(losses)
        return tf.constant(self.task_weights, tf.float64)
