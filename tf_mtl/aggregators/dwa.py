"""DWA: weights from how fast the losses fall."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.epoch_mean import EpochMean
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.softmax import scaled_softmax


@register("dwa")
class DynamicWeightAverage(LossWeighting):
    """Gives more weight to tasks whose loss falls slowly.

    In epoch `k` the weights are `T softmax(r / temperature)` over the `T` present
    tasks, with `r_t = L_t(k - 1) / L_t(k - 2)` the ratio of the mean losses of the two
    epochs before. In the first two epochs all weights are 1.

    An epoch without known label of a task changes nothing for it; until a task has
    two epochs, or where the older of its two means is not positive, its ratio is 1.
    One task gets its plain gradient.

    Epochs end by `end_epoch`, which `fit` calls; a training of one or two epochs is
    equal weighting.

    Args:
        temperature: positive float, the paper's T. Large values even the weights out.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if `temperature` is not positive.

    Reference:
        Liu, Johns, Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019,
        arXiv:1803.10704 (dynamic weight average). Public code also takes ratios of
        single steps, which are 1 plus noise, so that nothing is weighted.
    """

    def __init__(self, temperature: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = check_positive("temperature", temperature)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "temperature": self.temperature}

    def end_epoch(self) -> None:
        """Makes the mean losses of the epoch the newest of the two."""
        mean, known = self._mean.finish()
        self._older.assign(tf.where(known, self._newer.value, self._older.value))
        self._newer.assign(tf.where(known, mean, self._newer.value))

    def _build(self, num_tasks: int) -> None:
        self._mean = EpochMean(self, num_tasks)
        # 0 where there is no such epoch yet.
        self._newer = self.add_variable("newer_mean", (num_tasks,), task_axes=1)
        self._older = self.add_variable("older_mean", (num_tasks,), task_axes=1)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        self._mean.update(losses)
        newer, older = self._newer.value, self._older.value
        ratios = tf.where(older > 0.0, tf.math.divide_no_nan(newer, older), 1.0)
        return scaled_softmax(ratios / self.temperature, present)
