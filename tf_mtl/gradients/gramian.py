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
        right: tensor of the same dtype, and of a shape that broadcasts with `left`.

    Returns:
        Tensor of shape `(...)` in that dtype.
    """
    # The product with a vector of ones runs on all cores and fuses with what is before
    # it; under XLA on CPU a reduction takes twice as long, and many tiny products of
    # matrices three times.
    products = left * right
    return tf.linalg.matvec(products, tf.ones(products.shape[-1:], products.dtype))
