"""CSV files to record batches: types are inferred from all rows, then all are cast."""

import codecs
import csv as python_csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from pyarrow import csv

# From the narrowest. A column of whole numbers is int64, as in TFX.
_TYPES = {"int": pa.int64(), "float": pa.float32(), "bytes": pa.binary()}
_ORDER = tuple(_TYPES)

# Lines that are parsed at a time.
_BLOCK = 8192


class Block(NamedTuple):
    """Some lines of a file.

    Attributes:
        path: the file.
        first: number of the first line, from 1.
        header: names of the columns.
        lines: the lines.
    """

    path: str
    first: int
    header: tuple[str, ...]
    lines: bytes


def read_blocks(path: str, columns: Sequence[str] | None) -> Iterator[Block]:
    """Cuts a file into blocks of lines.

    Args:
        path: file; `.gz` is decompressed.
        columns: names of the columns; None reads them from the first line.

    Raises:
        ValueError: if the file is damaged or cut off.
    """
    header = None if columns is None else tuple(columns)
    first, lines = 1, []
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if header is None:
                    header = _header(line.decode())
                    first = 2
                    continue
                lines.append(line)
                if len(lines) == _BLOCK:
                    yield Block(path, first, header, b"".join(lines))
                    first, lines = number + 1, []
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path!r} is damaged or cut off after line {first + len(lines) - 1}. "
            f"Fetch the file again. Cause: {error}"
        ) from error
    if lines and header is not None:
        yield Block(path, first, header, b"".join(lines))


def infer_types(block: Block) -> dict[str, str]:
    """The narrowest type that holds all values, by column: int, float or bytes."""
    return {name: _infer(column) for name, column in _parse(block).items()}


def merge_types(found: Iterable[dict[str, str]]) -> dict[str, str]:
    """The types that hold the values of all blocks."""
    merged: dict[str, str] = {}
    for types in found:
        for name, kind in types.items():
            merged[name] = max(merged.get(name, _ORDER[0]), kind, key=_ORDER.index)
    return merged


def to_record_batch(block: Block, types: dict[str, str]) -> pa.RecordBatch:
    """Casts a block; each cell is a list of one value, or null where it is empty."""
    columns = _parse(block)
    arrays = [_as_lists(c.cast(_TYPES[types[name]])) for name, c in columns.items()]
    return pa.RecordBatch.from_arrays(arrays, list(columns))


def _open(path: str) -> Any:
    # Beam's own decompression takes the end of a cut file for the end of the rows.
    file = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return gzip.GzipFile(fileobj=file) if path.endswith(".gz") else file


def _header(line: str) -> tuple[str, ...]:
    [names] = python_csv.reader([line], skipinitialspace=True)
    return tuple(name.strip() for name in names)


def _parse(block: Block) -> dict[str, pa.Array]:
    """Columns of strings without surrounding spaces, null where empty."""
    try:
        table = csv.read_csv(
            io.BytesIO(block.lines),
            csv.ReadOptions(column_names=block.header, use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(block.header, pa.string())
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{block.path!r}, in the lines from {block.first} on: {error}"
        ) from error
    columns = {}
    for name in block.header:
        values = pc.utf8_trim_whitespace(table[name].combine_chunks())
        columns[name] = pc.if_else(pc.equal(values, ""), None, values)
    return columns


def _infer(column: pa.Array) -> str:
    for name in _ORDER[:-1]:
        try:
            column.cast(_TYPES[name])
        except pa.ArrowInvalid:
            continue
        return name
    return _ORDER[-1]


def _as_lists(column: pa.Array) -> pa.Array:
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), column.drop_null(), mask=pa.array(~valid)
    )
