"""Tensors in the JSON of TensorFlow Serving's REST interface.

Numbers are JSON numbers, NaN and infinities the words `NaN`, `Infinity`, `-Infinity`,
strings UTF-8, and bytes `{"b64": "..."}`. The words are no JSON: Python has
them, JavaScript does not. So `null` is read as NaN too, where floats are wanted.
"""

import base64
import binascii
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.serving import tensors
from tf_mtl.serving.errors import invalid_argument
from tf_mtl.serving.tensors import TensorInfo

_BYTES_SUFFIX = "_bytes"


def decode(name: str, value: Any, info: TensorInfo) -> np.ndarray:
    """Reads an input.

    Args:
        name: of the input, for errors.
        value: what `json` read: lists in lists, or one value.
        info: what the signature wants.

    Returns:
        Array of its dtype and shape.

    Raises:
        RequestError: INVALID_ARGUMENT if lists differ in length, values are of another
            type or too large, or the shape does not fit.
    """
    shape, values = _flatten(name, value)
    tensors.check_shape(name, shape, info)
    if info.is_string:
        return np.array([to_bytes(v) for v in values], object).reshape(shape)
    kinds = _python_types(info.dtype)
    types = set(map(type, values))
    if info.dtype.is_floating and type(None) in types:
        values = [math.nan if value is None else value for value in values]
        types.remove(type(None))
    if not types <= kinds:
        wrong = next(v for v in values if type(v) not in kinds)
        raise invalid_argument(
            f"input {name!r} must have values of type {info.dtype.name}. "
            f"Received: {repr(wrong)[:100]}."
        )
    try:
        found = np.array(values, info.numpy_dtype)
    except OverflowError as error:
        raise invalid_argument(f"input {name!r}: {error}") from error
    return found.reshape(shape)


def encode(name: str, values: np.ndarray) -> Any:
    """Writes an output, in the structure of its shape.

    Args:
        name: of the output: strings are bytes if it ends in `_bytes`.
        values: array.

    Returns:
        What `json` writes; a float32 gets the digits that tell it from its neighbours.
    """
    if values.dtype == np.float32:
        return values.astype(str).astype(np.float64).tolist()
    if values.dtype.kind not in "OS":
        return values.tolist()
    texts = [_from_bytes(name, value) for value in values.ravel()]
    flat = np.empty(len(texts), object)
    flat[:] = texts
    return flat.reshape(values.shape).tolist()


def to_bytes(value: Any) -> bytes:
    """The bytes of a JSON string, or of `{"b64": ...}`.

    As in TensorFlow Serving, base64 may have white space, and be without its padding.

    Raises:
        RequestError: INVALID_ARGUMENT if it is neither.
    """
    if isinstance(value, str):
        # JSON can escape halves of characters, which have no bytes.
        return value.encode("utf-8", "replace")
    if is_binary(value):
        try:
            text = "".join(value["b64"].split())
            if not text.endswith("="):
                text += "=" * (-len(text) % 4)
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid_argument(f"`b64` must be base64: {error}.") from error
    raise invalid_argument(
        'A string must be a JSON string or {"b64": "..."}. '
        f"Received: {repr(value)[:100]}."
    )


def is_binary(value: Any) -> bool:
    """Whether this is `{"b64": "..."}`, with no other key."""
    is_alone = isinstance(value, dict) and len(value) == 1
    return is_alone and isinstance(value.get("b64"), str)


def _flatten(name: str, value: Any) -> tuple[tuple[int, ...], list[Any]]:
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        size = len(level[0])
        if any(not isinstance(each, list) or len(each) != size for each in level):
            raise invalid_argument(
                f"input {name!r} must have lists of the same length, {size} at depth "
                f"{len(shape)}."
            )
        shape.append(size)
        level = [item for each in level for item in each]
    return tuple(shape), level


def _python_types(dtype: tf.DType) -> set[type]:
    if dtype == tf.bool:
        return {bool}
    return {int} if dtype.is_integer else {int, float}


def _from_bytes(name: str, value: bytes | str) -> Any:
    data = tf.compat.as_bytes(value)
    if not name.endswith(_BYTES_SUFFIX):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(data).decode("ascii")}
