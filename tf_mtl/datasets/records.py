"""TFRecord files of `tf.train.Example`: write, read, and find damage."""

import contextlib
import itertools
import math
import os
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.datasets.columns import Columns, num_rows, take_rows

# A constant, not AUTOTUNE: the order of the rows follows from it.
_PARALLEL_READS = 4

# Files of the datasets that are in use; a dataset made from another keeps it alive.
_FILES: weakref.WeakKeyDictionary[tf.data.Dataset, list[str]] = (
    weakref.WeakKeyDictionary()
)


def write(
    path: str | os.PathLike[str],
    columns: Columns | Iterable[Columns],
    num_shards: int = 1,
) -> list[str]:
    """Writes columns as records, one `tf.train.Example` per row.

    Files are written under hidden temporary names and renamed when all are complete,
    so a reader never sees a half-written data set.

    Args:
        path: prefix of the files: `path-00000-of-00002`, ...
        columns: dict of arrays, rows in the first axis, which is cut into `num_shards`
            equal pieces in order; or an iterable of such dicts (a batched
            `tf.data.Dataset` of dicts, say), whose i-th batch goes to file
            `i % num_shards`. Integers are stored as int64, floats as float32, strings
            as bytes.
        num_shards: int. Number of files.

    Returns:
        The names of the files.

    Raises:
        FileExistsError: if files of that prefix exist.
        TypeError: if a column is neither numeric nor of strings.
        ValueError: if `num_shards` is not positive or columns differ in length.
    """
    path = os.fspath(path)
    if num_shards < 1:
        raise ValueError(
            f"`num_shards` must be a positive int. Received: num_shards={num_shards}."
        )
    # Files of another shard count would be mixed with the new ones by a pattern.
    existing = tf.io.gfile.glob(f"{path}-*-of-*")
    if existing:
        raise FileExistsError(
            f"`path` must not have files yet. Received: path={path!r}, found: "
            f"{sorted(existing)}. Delete them or choose another path."
        )
    if isinstance(columns, Mapping):
        columns = _pieces(columns, num_shards)
    folder, base = os.path.split(path)
    tf.io.gfile.makedirs(folder or ".")
    names = [f"{base}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]
    finals = [os.path.join(folder, name) for name in names]
    mark = uuid.uuid4().hex
    temporary = [os.path.join(folder, f".{name}.{mark}") for name in names]
    try:
        with contextlib.ExitStack() as stack:
            writers = [
                stack.enter_context(tf.io.TFRecordWriter(name)) for name in temporary
            ]
            for writer, batch in zip(itertools.cycle(writers), columns, strict=False):
                for record in serialize(batch):
                    writer.write(record)
        for source, target in zip(temporary, finals, strict=True):
            tf.io.gfile.rename(source, target)
    finally:
        for name in filter(tf.io.gfile.exists, temporary):
            tf.io.gfile.remove(name)
    return finals


def parsing_spec(columns: Columns) -> dict[str, tf.io.FixedLenFeature]:
    """The specification that reads what `write` made of these columns.

    Args:
        columns: dict of arrays, rows in the first axis.

    Returns:
        dict of `tf.io.FixedLenFeature` for `read` or `tf.io.parse_example`.

    Raises:
        TypeError: if a column is neither numeric nor of strings.
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return {
        name: tf.io.FixedLenFeature(array.shape[1:], _storage(name, array)[0])
        for name, array in arrays.items()
    }


def read(
    pattern: str | os.PathLike[str], spec: Mapping[str, Any], batch_size: int = 1024
) -> tf.data.Dataset:
    """Reads records in batches, in an order that is the same every time.

    Rows of one file keep their order; rows of up to four files alternate. Damage shows
    while iterating, as a `tf.errors.DataLossError` that names no file; `named_errors`
    says where it is.

    Args:
        pattern: glob pattern of the files.
        spec: dict of `tf.io` parsing features, as for `tf.io.parse_example`.
        batch_size: int. Rows per batch; the last one may be smaller.

    Returns:
        `tf.data.Dataset` of dicts of tensors of shape `(batch, ...)`.

    Raises:
        FileNotFoundError: if no file matches.
    """
    files = _match(pattern)
    dataset = tf.data.TFRecordDataset(
        files, num_parallel_reads=min(len(files), _PARALLEL_READS)
    )
    dataset = (
        dataset.batch(batch_size)
        .map(
            lambda records: tf.io.parse_example(records, dict(spec)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
    )
    _FILES[dataset] = files
    return dataset


def verify(pattern: str | os.PathLike[str]) -> int:
    """Reads all records of the files and checks length and checksum of each.

    Args:
        pattern: glob pattern of the files.

    Returns:
        int. The number of records in all files.

    Raises:
        FileNotFoundError: if no file matches.
        ValueError: if a file is damaged or cut off; names file and record.
    """
    return sum(_verify_file(name) for name in _match(pattern))


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Turns a `DataLossError` of the block into an error naming file and record.

    Costs nothing until an error occurs. The files of all datasets from `read` that are
    in use are then read once more. Serves as a decorator too.

    ```python
    with records.named_errors():
        for batch in records.read(pattern, spec).map(split_labels):
            ...
    ```

    Yields:
        None.

    Raises:
        ValueError: if one of the files is damaged or cut off.
    """
    try:
        yield
    except tf.errors.DataLossError:
        for name in sorted({name for files in _FILES.values() for name in files}):
            _verify_file(name)
        raise


def _match(pattern: str | os.PathLike[str]) -> list[str]:
    files = sorted(tf.io.gfile.glob(os.fspath(pattern)))
    if not files:
        raise FileNotFoundError(
            "`pattern` must match at least one file. Received: "
            f"pattern={os.fspath(pattern)!r}."
        )
    return files


def _verify_file(name: str) -> int:
    records = tf.data.TFRecordDataset(name)
    try:
        return sum(len(batch) for batch in records.batch(1024).as_numpy_iterator())
    except tf.errors.DataLossError:
        pass
    # Batches hide the position of the damage: count single records up to it.
    intact = 0
    try:
        for _ in records:
            intact += 1
    except tf.errors.DataLossError as error:
        raise ValueError(
            f"Record file {name!r} is damaged or cut off at record {intact + 1}; "
            f"{intact} records before it are intact. Write the file anew. Cause: "
            f"{error.message}"
        ) from error
    return intact


def _pieces(columns: Columns, num_shards: int) -> Iterator[dict[str, Any]]:
    size = num_rows(columns)
    for i in range(num_shards):
        rows = slice(size * i // num_shards, size * (i + 1) // num_shards)
        yield take_rows(columns, rows)


def serialize(batch: Columns) -> Iterator[bytes]:
    """Makes one serialized `tf.train.Example` of each row, as `write` stores it.

    Args:
        batch: dict of arrays, rows in the first axis.

    Yields:
        bytes, row by row.

    Raises:
        TypeError: if a column is neither numeric nor of strings.
    """
    size = num_rows(batch)
    arrays = {name: np.asarray(column) for name, column in batch.items()}
    make = {name: _storage(name, array)[1] for name, array in arrays.items()}
    rows = {
        name: array.reshape(size, math.prod(array.shape[1:])).tolist()
        for name, array in arrays.items()
    }
    for i in range(size):
        feature = {name: make[name](rows[name][i]) for name in rows}
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        yield example.SerializeToString()


def _storage(
    name: str, array: np.ndarray
) -> tuple[tf.DType, Callable[[list[Any]], tf.train.Feature]]:
    """The stored type of a column, and what makes a `Feature` of a row's values."""
    if array.dtype.kind in "iub":
        return tf.int64, _int64_feature
    if array.dtype.kind == "f":
        return tf.float32, _float_feature
    if array.dtype.kind in "OSU":
        return tf.string, _bytes_feature
    raise TypeError(
        "`columns` must hold integers, floats or strings. Received: column "
        f"{name!r} of dtype {array.dtype}."
    )


def _int64_feature(values: list[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _float_feature(values: list[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _bytes_feature(values: list[str | bytes]) -> tf.train.Feature:
    return tf.train.Feature(
        bytes_list=tf.train.BytesList(value=[tf.compat.as_bytes(v) for v in values])
    )
