"""Projection onto the probability simplex."""

import tensorflow as tf


def project_to_simplex(
    vector: tf.Tensor, present: tf.Tensor | None = None
) -> tf.Tensor:
    """The nearest point, in the Euclidean sense, with entries >= 0 that sum to 1.

    Args:
        vector: float tensor of shape `(num_tasks,)`, finite.
        present: bool tensor of shape `(num_tasks,)`, False for entries that must be
            0. None: all may be positive.

    Returns:
        Tensor like `vector`. All 0 if no task is present.
    """
    if present is None:
        present = tf.ones_like(vector, tf.bool)
    lowest = tf.fill(tf.shape(vector), vector.dtype.min)
    ordered = tf.sort(tf.where(present, vector, lowest), direction="DESCENDING")
    counts = tf.range(1, vector.shape[0] + 1, dtype=vector.dtype)
    excess = (tf.cumsum(ordered) - 1.0) / counts
    # The threshold is the excess of the largest set of entries that stay positive,
    # and no other set has a larger one.
    threshold = tf.reduce_max(excess)
    return tf.where(present, tf.maximum(vector - threshold, 0.0), 0.0)
