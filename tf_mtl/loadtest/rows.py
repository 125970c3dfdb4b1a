"""Rows to ask about: from a file, or made up from what a signature takes."""

import itertools
import os
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

_NUM_ROWS = 1024
_VOCABULARY = 100
_LIST_LENGTH = 2


def from_file(path: str | os.PathLike[str]) -> list[bytes]:
    """The first rows of a TFRecord file.

    Args:
        path: the file, of serialized tf.Examples.

    Returns:
        list of at most 1024 serialized tf.Examples.

    Raises:
        ValueError: if there are none.
    """
    dataset = tf.data.TFRecordDataset(os.fspath(path)).take(_NUM_ROWS)
    try:
        rows = list(dataset.as_numpy_iterator())
    except tf.errors.OpError as error:
        raise ValueError(f"`examples` cannot be read: {error.message}") from error
    if not rows:
        raise ValueError(f"`examples` must hold rows. Received: {os.fspath(path)!r}.")
    return rows


def made_up(
    inputs: Mapping[str, meta_graph_pb2.TensorInfo], seed: int
) -> dict[str, np.ndarray]:
    """Random columns: texts and numbers of a hundred kinds, and normal numbers.

    Args:
        inputs: of the signature `serving_default`.
        seed: int.

    Returns:
        dict of column name to array of 1024 rows.
    """
    generator = np.random.default_rng(seed)
    columns = {}
    for name in sorted(inputs):
        info = inputs[name]
        sizes = [dim.size for dim in info.tensor_shape.dim[1:]]
        shape = [_NUM_ROWS, *(_LIST_LENGTH if s < 0 else s for s in sizes)]
        dtype = tf.as_dtype(info.dtype)
        ids = generator.integers(0, _VOCABULARY, shape)
        if dtype == tf.string:
            columns[name] = np.char.add("value ", ids.astype(str)).astype(bytes)
        elif dtype.is_floating:
            columns[name] = generator.normal(size=shape).astype(dtype.as_numpy_dtype)
        else:
            columns[name] = ids.astype(dtype.as_numpy_dtype)
    return columns


def to_examples(columns: Mapping[str, np.ndarray]) -> list[bytes]:
    """Columns as serialized tf.Examples, one per row."""
    rows = zip(*columns.values(), strict=True)
    return [_to_example(dict(zip(columns, row, strict=True))) for row in rows]


def batches(num_rows: int, batch_size: int) -> Iterator[list[int]]:
    """Positions of the rows of each batch, round and round without an end."""
    positions = itertools.cycle(range(num_rows))
    while True:
        yield list(itertools.islice(positions, batch_size))


def _to_example(row: Mapping[str, np.ndarray]) -> bytes:
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        values = np.ravel(value).tolist()
        if value.dtype.kind == "S":
            feature.bytes_list.value.extend(values)
        elif value.dtype.kind == "f":
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(map(int, values))
    return example.SerializeToString()
