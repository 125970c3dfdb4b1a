"""Losses of the tasks for a batch."""

from collections.abc import Sequence

import tensorflow as tf

from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.tasks import Targets, Task


def plain_losses(
    tasks: Sequence[Task], outputs: Sequence[tf.Tensor], targets: Targets
) -> list[tf.Tensor]:
    """Loss of each task: this replica's share of the mean over known labels.

    The static weights of the tasks are not in it.

    Args:
        tasks: sequence of `Task`.
        outputs: raw outputs by task, each of shape `(batch,)`.
        targets: labels, masks and weights of the batch.

    Returns:
        list of float32 scalars by task, 0 for a task without known label.
    """
    counts = known_counts(targets)
    losses = []
    for i, task in enumerate(tasks):
        known, output = targets.known[i], tf.cast(outputs[i], tf.float32)
        # At an unknown label a loss may have no finite value or gradient: no
        # gradient goes there, and the value is selected, not multiplied by 0.
        output = tf.where(known, output, tf.stop_gradient(output))
        each = task.example_losses(targets.labels[i], output)
        each = tf.where(known, each * targets.weights[i], 0.0)
        losses.append(tf.reduce_sum(each) / tf.maximum(counts[i], 1.0))
    return losses


def weighted_losses(
    tasks: Sequence[Task], losses: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Losses by task, times the static weights of the tasks."""
    return [task.weight * loss for task, loss in zip(tasks, losses, strict=True)]


def known_counts(targets: Targets) -> list[tf.Tensor]:
    """Number of known labels of each task, float32 scalars, over all replicas."""
    counts = tf.stack([tf.reduce_sum(tf.cast(k, tf.float32)) for k in targets.known])
    return tf.unstack(replica_sum(counts), len(targets.known))


def present_tasks(targets: Targets) -> tf.Tensor:
    """Which tasks have a known label, bool `(num_tasks,)`."""
    return tf.stack(known_counts(targets)) > 0
