"""Sums over the entries of rows that lie in several blocks."""

from collections.abc import Sequence

import tensorflow as tf


def task_sums(blocks: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum of the entries of each row over all blocks.

    Args:
        blocks: float tensors of shape `(num_tasks, ...)`.

    Returns:
        float64 tensor of shape `(num_tasks,)`.
    """
    sums = [tf.reduce_sum(block, axis=range(1, block.shape.rank)) for block in blocks]
    return tf.add_n([tf.cast(each, tf.float64) for each in sums])


def row_norms(blocks: Sequence[tf.Tensor]) -> tf.Tensor:
    """Norm of each row over all blocks.

    Args:
        blocks: float tensors of shape `(num_tasks, ...)`.

    Returns:
        float64 tensor of shape `(num_tasks,)`.
    """
    return tf.sqrt(task_sums([tf.square(block) for block in blocks]))


def row_gramian(blocks: Sequence[tf.Tensor]) -> tf.Tensor:
    """Inner products of the rows over all blocks.

    Args:
        blocks: float tensors of shape `(num_tasks, ...)`.

    Returns:
        float64 tensor of shape `(num_tasks, num_tasks)`.
    """
    flat = [tf.reshape(block, [block.shape[0], -1]) for block in blocks]
    products = [tf.matmul(rows, rows, transpose_b=True) for rows in flat]
    return tf.add_n([tf.cast(each, tf.float64) for each in products])
