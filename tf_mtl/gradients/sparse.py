"""Gradients of looked-up table rows: unique ids, one summed row per id."""

import tensorflow as tf


class UniqueSlices(tf.IndexedSlices):
    """`tf.IndexedSlices` with sorted indices and one live row per index.

    The number of rows is fixed by the batch, so there is padding: **a row whose
    index equals the index of the row before it is padding and its values are
    zero**. Such slices are therefore valid for any consumer that sums rows of equal
    index, while a consumer that updates row by row masks the padding with
    `first_of_run(slices.indices)`.
    """


def first_of_run(sorted_ids: tf.Tensor) -> tf.Tensor:
    """Marks the first entry of each run of equal values.

    Args:
        sorted_ids: integer tensor of shape `(rows,)`, sorted.

    Returns:
        bool tensor of shape `(rows,)`. False marks padding (see `UniqueSlices`).
    """
    changed = tf.not_equal(sorted_ids[1:], sorted_ids[:-1])
    return tf.concat([tf.ones_like(sorted_ids[:1], tf.bool), changed], axis=0)


def unique_ids(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sorted unique ids in a list of fixed length, and where each id went.

    Args:
        ids: integer tensor of shape `(rows,)`, non-negative.

    Returns:
        `unique`, of the shape and dtype of `ids`: the sorted distinct ids, then the
        last of them repeated as padding; and `position`, int32 of the same shape,
        with `unique[position[i]] == ids[i]`.
    """
    rows = tf.shape(ids, out_type=tf.int64)[0]
    # One int64 key per entry sorts ids and carries the entry's place along: a
    # single-operand sort is much faster than a sort of pairs under XLA on CPU.
    key = tf.sort(tf.cast(ids, tf.int64) * rows + tf.range(rows))
    sorted_ids = key // rows
    place = tf.cast(key % rows, tf.int32)
    segment = tf.cumsum(tf.cast(first_of_run(sorted_ids), tf.int32)) - 1
    shape = tf.shape(ids)
    position = tf.scatter_nd(place[:, None], segment, shape)
    unique = tf.math.unsorted_segment_max(sorted_ids, segment, shape[0])
    unique = tf.maximum(unique, sorted_ids[-1:] * tf.cast(unique < 0, tf.int64))
    return tf.cast(unique, ids.dtype), position


def unique_slices(slices: tf.IndexedSlices) -> UniqueSlices:
    """Sums rows of equal index.

    Args:
        slices: values of shape `(rows, ...)`, indices of shape `(rows,)`, repeated
            indices allowed.

    Returns:
        `UniqueSlices` with as many rows. Given `UniqueSlices`, returns them as is.
    """
    if isinstance(slices, UniqueSlices):
        return slices
    unique, position = unique_ids(slices.indices)
    values = tf.math.unsorted_segment_sum(
        slices.values, position, tf.shape(slices.indices)[0]
    )
    return UniqueSlices(values, unique, slices.dense_shape)
