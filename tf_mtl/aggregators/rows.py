"""Rows of a Jacobian: dtypes, absent tasks, weighted sums."""

import tensorflow as tf

from tf_mtl.aggregators.base import task_mask


def as_float(tensor: tf.Tensor) -> tf.Tensor:
    """Tensor as it is if it holds floats, else as float32."""
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float32)


def as_rows(tensor: tf.Tensor) -> tf.Tensor:
    """Tensor in the dtype of inner products: float64 stays, the rest is float32."""
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def per_task(vector: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """A vector over tasks, shaped and typed to multiply the rows of a block."""
    shape = [-1] + [1] * (block.shape.rank - 1)
    return tf.reshape(tf.cast(vector, block.dtype), shape)


def present_rows(block: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Rows fit for inner products, 0 where absent even if they held NaN."""
    block = as_rows(block)
    mask = task_mask(present, task_axes=1, rank=block.shape.rank)
    return tf.where(mask, block, tf.zeros_like(block))


def weighted_sum(block: tf.Tensor, weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Sum of present rows times weights, in the dtype of `block`."""
    rows = present_rows(block, present)
    direction = tf.tensordot(tf.cast(weights, rows.dtype), rows, axes=1)
    return tf.cast(direction, block.dtype)


def squared_norm(blocks: list[tf.Tensor]) -> tf.Tensor:
    """Sum of the squares of all entries, float64 scalar."""
    return tf.add_n([tf.cast(tf.reduce_sum(tf.square(b)), tf.float64) for b in blocks])
