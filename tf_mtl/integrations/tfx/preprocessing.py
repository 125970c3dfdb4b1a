"""Parts of a `preprocessing_fn`, each with one analyzer for many columns.

An analyzer of tf.Transform costs about two seconds, however few the rows, so columns
are analyzed together.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

# Ids of a transformed categorical column: a place in the vocabulary, or one of these.
UNKNOWN, MISSING = -1, -2
# Name of the vocabulary, and of the embedding table that the columns share.
VOCABULARY = "values"

# A column whose variance is below this is constant, but for rounding.
_MIN_VARIANCE = 1e-6


def dense(column: Any, missing: Any) -> tf.Tensor:
    """Values `[batch]` of a raw column with one value a row.

    Args:
        column: sparse `[batch, values]`, or dense `[batch]` or `[batch, 1]`.
        missing: stands in for a missing value; cast to the dtype of the column.
    """
    if isinstance(column, tf.SparseTensor):
        shape = [column.dense_shape[0], 1]
        column = tf.SparseTensor(column.indices, column.values, shape)
        column = tf.sparse.to_dense(column, tf.constant(missing, column.dtype))
    return tf.reshape(column, [-1])


def words(column: Any) -> tf.Tensor:
    """Strings `[batch]`, "" where missing. Integer codes are categories too."""
    if column.dtype == tf.string:
        return dense(column, "")
    if isinstance(column, tf.SparseTensor):
        text = tf.strings.as_string(column.values)
        return dense(tf.SparseTensor(column.indices, text, column.dense_shape), "")
    return tf.reshape(tf.strings.as_string(column), [-1])


def vocabulary_ids(columns: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Ids in one vocabulary of `column=value`, learned from all columns together.

    Args:
        columns: dict of strings `[batch]`, "" where missing.

    Returns:
        dict of int64 `[batch]`: the place in the vocabulary, `UNKNOWN` or `MISSING`.
    """
    pairs = [tf.strings.join([f"{name}=", value]) for name, value in columns.items()]
    ids = tft.compute_and_apply_vocabulary(
        tf.stack(pairs, axis=1), default_value=UNKNOWN, vocab_filename=VOCABULARY
    )
    is_missing = tf.stack(list(columns.values()), axis=1) == ""
    ids = tf.where(is_missing, tf.constant(MISSING, tf.int64), ids)
    return dict(zip(columns, tf.unstack(ids, axis=1), strict=True))


def log_standardize(columns: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Numbers on a logarithmic scale, with mean 0 and variance 1.

    A constant column is shifted and not scaled: its variance is but rounding.

    Args:
        columns: dict of float32 `[batch]`.

    Returns:
        dict of float32 `[batch]`.
    """
    numbers = tf.stack(list(columns.values()), axis=1)
    numbers = tf.sign(numbers) * tf.math.log1p(tf.abs(numbers))
    mean = tft.mean(numbers, reduce_instance_dims=False)
    variance = tft.var(numbers, reduce_instance_dims=False)
    scale = tf.where(variance > _MIN_VARIANCE, tf.math.rsqrt(variance), 1.0)
    return dict(zip(columns, tf.unstack((numbers - mean) * scale, axis=1), strict=True))


def bucketize(
    columns: Mapping[str, tf.Tensor], num_buckets: int
) -> dict[str, tf.Tensor]:
    """Buckets of equal counts, learned column by column.

    Args:
        columns: dict of float32 `[batch]`.
        num_buckets: int.

    Returns:
        dict of int64 `[batch]` by `<column>_bucket`, in `[0, num_buckets)`.
    """
    numbers = tf.stack(list(columns.values()), axis=1)
    buckets = tf.unstack(tft.bucketize(numbers, num_buckets, elementwise=True), axis=1)
    return {f"{name}_bucket": b for name, b in zip(columns, buckets, strict=True)}
