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


def inner_products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Inner products along the last axis.

    Args:
        left: float tensor of shape `(..., units)`.
        right: float tensor, of a shape that broadcasts with that of `left`.

    Returns:
        Tensor of shape `(...)`, float64 if both are, else float32.
    """
    dtype = tf.float64 if left.dtype == right.dtype == tf.float64 else tf.float32
    # The product with a vector of ones runs on all cores and fuses with what is before
    # it; under XLA on CPU a reduction takes twice as long, and many tiny products of
    # matrices three times.
    products = tf.cast(left, dtype) * tf.cast(right, dtype)
    return tf.linalg.matvec(products, tf.ones(tf.shape(products)[-1:], dtype))
