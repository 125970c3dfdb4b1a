"""One task alone."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register


@register("single")
class Single(LossWeighting):
    """Trains one task and leaves the others out, in the same network.

    The reference of what sharing costs or brings that task. Towers of the other tasks
    get a gradient of 0; an optimizer with weight decay or momentum may still move them.
    A batch in which the task is absent moves nothing.

    Args:
        task: int, index of the task.

    Raises:
        ValueError: if `task` is negative; in `build` if there is no such task.
    """

    uses_losses = False

    def __init__(self, task: int = 0) -> None:
        super().__init__()
        if task < 0:
            raise ValueError(f"`task` must be at least 0. Received: task={task}.")
        self.task = int(task)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"task": self.task}

    def _check_num_tasks(self, num_tasks: int) -> None:
        if self.task >= num_tasks:
            raise ValueError(
                f"`task` must be less than the number of tasks, {num_tasks}. "
                f"Received: task={self.task}."
            )

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(self.task, losses.shape[0], dtype=tf.float64)
