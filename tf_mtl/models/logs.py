"""Losses and metrics that a model shows while it trains and evaluates."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.gradients.replicas import num_replicas, replica_sum
from tf_mtl.models.losses import known_counts, weighted_losses
from tf_mtl.models.passes import Forward
from tf_mtl.tasks import Targets, Task


class TaskLogs:
    """Means of the losses, metrics of the tasks, and the count of skipped updates.

    Args:
        tasks: sequence of `Task`.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tuple(tasks)
        self._loss = keras.metrics.Mean(name="loss")
        self._task_losses = [
            keras.metrics.Mean(name=f"{task.name}_loss") for task in tasks
        ]
        self._task_metrics = [task.make_metrics() for task in tasks]
        self._skipped = keras.metrics.Sum(name="skipped_updates")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics."""
        return [
            self._loss,
            *self._task_losses,
            *(metric for group in self._task_metrics for metric in group),
            self._skipped,
        ]

    def names(self, training: bool, with_metrics: bool) -> list[str]:
        """What is shown: losses, metrics of the tasks, and skipped updates."""
        names = [self._loss.name, *(metric.name for metric in self._task_losses)]
        if with_metrics:
            names += [metric.name for group in self._task_metrics for metric in group]
        return [*names, self._skipped.name] if training else names

    def results(self) -> dict[str, tf.Tensor]:
        """Value of each metric by name."""
        results = {metric.name: metric.result() for metric in self.metrics}
        for metric in (self._loss, *self._task_losses):
            # A mean over nothing is not 0, which would look like a perfect score.
            is_empty = tf.equal(tf.convert_to_tensor(metric.count), 0)
            results[metric.name] = tf.where(is_empty, np.nan, results[metric.name])
        return results

    def update(
        self, forward: Forward, targets: Targets, is_used: tf.Tensor, with_metrics: bool
    ) -> None:
        """Takes in a batch.

        Args:
            forward: outputs and losses.
            targets: labels, masks and weights.
            is_used: bool scalar. False: the batch leaves everything as it is.
            with_metrics: bool. Whether to update the metrics of the tasks.
        """
        rows = tf.cast(tf.shape(targets.labels[0])[0], tf.float32)
        counts = [replica_sum(rows), *known_counts(targets)]
        total = tf.add_n(weighted_losses(self._tasks, forward.losses))
        values = [total, *forward.losses]
        metrics = [self._loss, *self._task_losses]
        for metric, value, count in zip(metrics, values, counts, strict=True):
            metric.update_state(
                tf.where(is_used, value, 0.0) * num_replicas(),
                tf.where(is_used, count, 0.0) / num_replicas(),
            )
        if with_metrics:
            self._update_metrics(forward.outputs, targets, is_used)

    def count_skipped(self, is_skipped: tf.Tensor) -> None:
        """Counts an update, which all replicas skip together."""
        self._skipped.update_state(tf.cast(is_skipped, tf.float32) / num_replicas())

    def _update_metrics(
        self, outputs: Sequence[tf.Tensor], targets: Targets, is_used: tf.Tensor
    ) -> None:
        for i, task in enumerate(self._tasks):
            predictions = task.predictions(tf.cast(outputs[i], tf.float32))
            is_known = targets.known[i] & is_used
            for metric in self._task_metrics[i]:
                metric.update_state(
                    targets.labels[i][:, None],
                    tf.where(is_known, predictions, 0.0)[:, None],
                    sample_weight=tf.where(is_known, targets.weights[i], 0.0),
                )
