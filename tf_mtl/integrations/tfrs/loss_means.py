"""Means of the losses over an epoch or an evaluation, and skipped updates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class LossMeans(tf.keras.layers.Layer):
    """Metrics of the losses; a layer, so that a model finds and resets them.

    Args:
        task_names: sequence of str.
    """

    def __init__(self, task_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = [
            "loss",
            *(f"{name}_loss" for name in task_names),
            "regularization_loss",
            "total_loss",
        ]
        self._means = [tf.keras.metrics.Mean(name=name) for name in names]
        self._skipped = tf.keras.metrics.Sum(name="skipped_updates")

    @tf.autograph.experimental.do_not_convert
    def update(
        self,
        losses: Sequence[tf.Tensor],
        penalty: tf.Tensor,
        present: tf.Tensor,
        is_used: tf.Tensor,
    ) -> None:
        """Takes in a batch.

        Args:
            losses: float32 scalars by task.
            penalty: float32 scalar.
            present: bool tensor of shape `(num_tasks,)`. False: the mean of the loss of
                that task leaves the batch out.
            is_used: bool scalar. False: all means leave it out, and it is counted.
        """
        total = tf.add_n(list(losses))
        values = [total, *losses, penalty, total + penalty]
        counts = [True, *tf.unstack(present, len(losses)), True, True]
        for mean, value, counts_here in zip(self._means, values, counts, strict=True):
            weight = tf.cast(is_used & counts_here, tf.float32)
            mean.update_state(tf.where(is_used, value, 0.0), sample_weight=weight)
        self._skipped.update_state(tf.cast(~is_used, tf.float32))

    def results(self, training: bool) -> dict[str, tf.Tensor]:
        """Values by name. A mean over nothing is NaN: 0 would look perfect."""
        results = {
            mean.name: tf.where(mean.count > 0, mean.result(), np.nan)
            for mean in self._means
        }
        if training:
            results[self._skipped.name] = self._skipped.result()
        return results
