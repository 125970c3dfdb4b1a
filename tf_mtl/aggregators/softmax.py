"""Softmax over the tasks that are present."""

import tensorflow as tf


def present_softmax(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Weights that sum to 1 over present tasks.

    Args:
        logits: float64 tensor of shape `(num_tasks,)`.
        present: bool tensor of shape `(num_tasks,)`.

    Returns:
        float64 tensor of shape `(num_tasks,)`, 0 for absent tasks.
    """
    weights = tf.nn.softmax(tf.where(present, logits, logits.dtype.min))
    # With no task present all logits are equal.
    return tf.where(present, weights, 0.0)


def scaled_softmax(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """As `present_softmax`, with the number of present tasks as sum: mean 1."""
    return present_softmax(logits, present) * tf.cast(
        tf.math.count_nonzero(present), tf.float64
    )
