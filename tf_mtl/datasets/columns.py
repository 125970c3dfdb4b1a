"""Rows held as column arrays, cut into batches without touching single rows."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

Columns = Mapping[str, Any]

# Rows gathered at a time where single rows are asked for.
_CHUNK = 1024


def num_rows(columns: Columns) -> int:
    """The number of rows that all columns share.

    Args:
        columns: dict of arrays or tensors, rows in the first axis.

    Returns:
        int.

    Raises:
        ValueError: if there is no column or the columns differ in length.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            "`columns` must be arrays of one length, at least one of them. "
            f"Received: lengths={lengths}."
        )
    return next(iter(lengths.values()))


def take_rows(columns: Columns, rows: slice) -> dict[str, Any]:
    """Cuts the same rows out of every column.

    Args:
        columns: dict of arrays or tensors, rows in the first axis.
        rows: slice of row positions.

    Returns:
        dict of arrays or tensors, in the order of `columns`.
    """
    return {name: column[rows] for name, column in columns.items()}


def fingerprint(columns: Columns) -> str:
    """Tells whether columns are the same as others: names, types, rows and their order.

    Args:
        columns: dict of arrays or tensors, rows in the first axis.

    Returns:
        string of 64 hexadecimal digits, SHA-256.
    """
    digest = hashlib.sha256()
    for name in sorted(columns):
        array = np.asarray(columns[name])
        kind = "bytes" if array.dtype.kind in "OSU" else array.dtype.str
        digest.update(json.dumps([name, kind, array.shape]).encode())
        if kind == "bytes":
            values = [tf.compat.as_bytes(value) for value in array.ravel().tolist()]
            digest.update(json.dumps([len(value) for value in values]).encode())
            digest.update(b"".join(values))
        else:
            digest.update(array.tobytes())
    return digest.hexdigest()


def as_dataset(
    features: Columns,
    labels: Columns,
    batch_size: int | None = None,
    shuffle_seed: int | None = None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Builds a dataset of `(features, labels)` from columns in memory.

    Each batch is gathered column by column by row number, which is many times faster
    than shuffling and batching single rows.

    Args:
        features: dict of arrays, rows in the first axis.
        labels: dict of arrays with as many rows.
        batch_size: int. Rows per batch, or `None` for single rows.
        shuffle_seed: int. Shuffles all rows, anew in each iteration over the dataset.
            The order of the k-th iteration follows from this seed and, as everywhere
            in `tf.data`, from `tf.random.set_seed`. `None` keeps the order. A run that
            stopped after `k` batches goes on with `dataset.repeat().skip(k)` if it
            began with `dataset.repeat()`.
        drop_remainder: bool. Leaves out a last batch that is not full, so that the
            batch shape is static.

    Returns:
        `tf.data.Dataset` of two dicts of tensors, of known cardinality.

    Raises:
        ValueError: if the columns differ in length, `batch_size` is not positive, or
            single rows are asked for with `drop_remainder`.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(
            "`batch_size` must be a positive int, or None for single rows. "
            f"Received: batch_size={batch_size}."
        )
    if batch_size is None and drop_remainder:
        raise ValueError(
            "`drop_remainder` needs a `batch_size`. Received: batch_size=None, "
            "drop_remainder=True."
        )
    size = num_rows({**features, **labels})
    step = batch_size or _CHUNK
    # Gathering happens in the host's input pipeline; columns on another device would
    # be copied back for every batch.
    with tf.device("CPU:0"):
        columns = tf.nest.map_structure(
            tf.convert_to_tensor, (dict(features), dict(labels))
        )

    def batches(order: tf.Tensor) -> tf.data.Dataset:
        starts = tf.data.Dataset.range(
            0, size - step + 1 if drop_remainder else size, step
        )
        return starts.map(lambda start: order[start : start + step])

    def gather(rows: tf.Tensor) -> Any:
        rows = tf.ensure_shape(rows, [step if drop_remainder else None])
        return tf.nest.map_structure(lambda column: tf.gather(column, rows), columns)

    if shuffle_seed is None:
        dataset = batches(tf.range(size))
    else:
        # One random number per iteration orders all rows at once.
        dataset = tf.data.Dataset.random(shuffle_seed, rerandomize_each_iteration=True)
        dataset = dataset.take(1).flat_map(
            lambda number: batches(
                tf.random.experimental.stateless_shuffle(
                    tf.range(size), seed=tf.stack([number, 0])
                )
            )
        )
    dataset = dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE)
    if batch_size is None:
        dataset = dataset.unbatch()
    count = size // step if drop_remainder else -(-size // (batch_size or 1))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(tf.data.AUTOTUNE)
