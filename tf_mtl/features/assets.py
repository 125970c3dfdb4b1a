"""What was learned, as text files that people can read: one value a line."""

import pathlib
import re

import numpy as np
import tensorflow as tf


def write_values(path: pathlib.Path, values: np.ndarray) -> None:
    r"""Writes one value a line.

    Args:
        path: file to write.
        values: array of rank 1. Floats are written so that they read back the same;
            in bytes, a newline is written as `\n` and a backslash twice.
    """
    if values.dtype == object:
        lines = [v.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") for v in values]
    else:
        lines = [repr(value).encode() for value in values.tolist()]
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def read_values(path: pathlib.Path, dtype: tf.DType) -> np.ndarray:
    """Reads what `write_values` wrote.

    Args:
        path: file to read.
        dtype: `tf.string`, `tf.int64` or a float dtype.

    Returns:
        Array of rank 1: bytes as objects, int64 or float64.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    if dtype == tf.string:
        unescape = {b"\\n": b"\n", b"\\\\": b"\\"}
        escaped = re.compile(rb"\\[n\\]")
        lines = [escaped.sub(lambda m: unescape[m.group()], line) for line in lines]
        return np.array(lines, object)
    number = int if dtype == tf.int64 else float
    kind = np.int64 if dtype == tf.int64 else np.float64
    return np.array([number(line) for line in lines], kind)
