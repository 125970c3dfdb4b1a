"""Mean of the losses over an epoch, kept in the state of an aggregator."""

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator


class EpochMean:
    """Plain mean over the batches of an epoch, task by task.

    A task is averaged over the batches in which it was present.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        num_tasks: int.
    """

    def __init__(self, owner: Aggregator, num_tasks: int) -> None:
        shape = (num_tasks,)
        self._sum = owner.add_variable("epoch_sum", shape, task_axes=1)
        self._count = owner.add_variable("epoch_count", shape, task_axes=1)

    def update(self, losses: tf.Tensor) -> None:
        """Takes the losses of a batch in, float64 `(num_tasks,)`."""
        self._sum.assign(self._sum + losses)
        self._count.assign(self._count + 1.0)

    def finish(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Ends the epoch: a new mean starts.

        Returns:
            The mean, float64 `(num_tasks,)`, and whether there is one, bool
            `(num_tasks,)`: False for a task without known label in the whole epoch.
        """
        count = tf.identity(self._count.value)
        mean = tf.math.divide_no_nan(self._sum.value, count)
        for variable in (self._sum, self._count):
            variable.assign(tf.zeros_like(variable.value))
        return mean, count > 0.0
