"""Mean losses of one early epoch, which later losses are measured by."""

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.epoch_mean import EpochMean


class BaseLosses:
    """Base loss of each task: its mean over the epoch with a given index.

    A task without known label in that epoch, or whose mean is not positive, gets its
    base loss from the first later epoch that has one. A base loss stays for good.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        num_tasks: int.
        epoch: int, index of the epoch, see `check_epoch`.
    """

    def __init__(self, owner: Aggregator, num_tasks: int, epoch: int) -> None:
        self._epoch = epoch
        self._mean = EpochMean(owner, num_tasks)
        self._ended = owner.add_variable("ended_epochs", dtype="int32")
        self._base = owner.add_variable("base_losses", (num_tasks,), task_axes=1)

    @property
    def value(self) -> tf.Tensor:
        """The base losses, float64 `(num_tasks,)`, 0 where not known yet."""
        return tf.convert_to_tensor(self._base.value)

    @property
    def ended_epochs(self) -> tf.Tensor:
        """Number of epochs that have ended, int32 scalar."""
        return tf.convert_to_tensor(self._ended.value)

    def update(self, losses: tf.Tensor) -> None:
        """Takes the losses of a batch in, float64 `(num_tasks,)`."""
        self._mean.update(losses)

    def relative(self, losses: tf.Tensor) -> tf.Tensor:
        """Losses over base losses, 1 where the base loss is not known yet."""
        base = self.value
        return tf.where(base > 0.0, tf.math.divide_no_nan(losses, base), 1.0)

    def end_epoch(self) -> None:
        """Ends an epoch. Called from `Aggregator.end_epoch`, outside the step."""
        mean, known = self._mean.finish()
        is_due = self._ended.value >= self._epoch
        is_new = is_due & known & (mean > 0.0) & (self.value <= 0.0)
        self._base.assign(tf.where(is_new, mean, self.value))
        self._ended.assign(self._ended + 1)


def check_epoch(name: str, epoch: int) -> int:
    """Returns the index of an epoch, or raises ValueError if it is negative."""
    if epoch != int(epoch) or epoch < 0:
        raise ValueError(
            f"`{name}` must be an int, at least 0. Received: {name}={epoch}."
        )
    return int(epoch)
