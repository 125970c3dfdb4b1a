"""Inner products of rows."""

import tensorflow as tf


def gramian(rows: tf.Tensor) -> tf.Tensor:
    """Inner products of the rows of one block.

    Args:
        rows: float tensor of shape `(num_rows, ...)`.

    Returns:
        float32 tensor of shape `(num_rows, num_rows)`, also where `rows` are of a
        smaller type.
    """
    flat = tf.reshape(tf.cast(rows, tf.float32), [rows.shape[0], -1])
    return tf.matmul(flat, flat, transpose_b=True)
