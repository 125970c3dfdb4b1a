"""From tensors of a request to arrays, and from arrays to tensors of an answer."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tf_mtl.serving.errors import invalid_argument

# 2^24 float32 are 64 MiB.
MAX_VALUES = 2**24
DEFAULT_MAX_ROWS = 65_536
_VALUE_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


# The same, by the dtype of an array: types of TensorFlow are slow to ask.
_WRITTEN = {
    np.dtype(dtype.as_numpy_dtype): (dtype.as_datatype_enum, field)
    for dtype, field in _VALUE_FIELDS.items()
}


class TensorInfo:
    """Type of an input or output of a signature.

    Args:
        tensor: name of the tensor in the graph.
        dtype: its type.
        shape: its shape, of unknown rank or sizes where any will do.
        max_rows: int. Largest first dimension that a request may have. Also how often a
            request may say "this string again": that costs it nothing, and us memory.

    Attributes:
        enum: int, number of `dtype`.
        numpy_dtype: that of its arrays.
        is_string: whether it is a string.
        field: where a request has its values; None for types that are rare.
        sizes: sizes of the dimensions, None where any will do; None if the rank is.
    """

    def __init__(
        self,
        tensor: str,
        dtype: tf.DType,
        shape: tf.TensorShape,
        max_rows: int = DEFAULT_MAX_ROWS,
    ) -> None:
        self.tensor = tensor
        self.dtype = dtype
        self.shape = shape
        self.max_rows = max_rows
        self.enum: int = dtype.as_datatype_enum
        self.numpy_dtype = np.dtype(dtype.as_numpy_dtype)
        self.is_string: bool = dtype == tf.string
        self.field = _VALUE_FIELDS.get(dtype)
        self.sizes = None if shape.rank is None else tuple(shape.as_list())


def decode(name: str, proto: tensor_pb2.TensorProto, info: TensorInfo) -> np.ndarray:
    """Reads a tensor of a request.

    Args:
        name: of the input, for errors.
        proto: the tensor: bytes in `tensor_content`, or values in the field of its
            type. Of too few values the last one is repeated, as TensorFlow does.
        info: what the signature wants.

    Returns:
        Array of the dtype and shape of the tensor; strings are bytes objects.

    Raises:
        RequestError: INVALID_ARGUMENT if dtype, shape or number of values are wrong.
    """
    if proto.dtype != info.enum:
        raise invalid_argument(
            f"input {name!r} must be of type {info.dtype.name}. "
            f"Received: {_dtype_name(proto.dtype)}."
        )
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    check_shape(name, shape, info)
    size = math.prod(shape)
    if proto.tensor_content:
        return _from_content(name, proto.tensor_content, shape, size, info)
    return _from_values(name, proto, shape, size, info)


def check_shape(name: str, shape: tuple[int, ...], info: TensorInfo) -> None:
    """Checks the shape of an input.

    Args:
        name: of the input, for errors.
        shape: what came.
        info: what the signature wants.

    Raises:
        RequestError: INVALID_ARGUMENT if it does not fit, or is too large.
    """
    fits = info.sizes is None or (
        len(shape) == len(info.sizes)
        and all(w is None or w == s for w, s in zip(info.sizes, shape, strict=True))
    )
    if not fits or any(size < 0 for size in shape):
        raise invalid_argument(
            f"input {name!r} must have shape {info.shape}. Received: {shape}."
        )
    if shape and shape[0] > info.max_rows:
        raise invalid_argument(
            f"input {name!r} must have at most {info.max_rows} rows. Received: "
            f"{shape[0]}."
        )
    # NumPy has arrays of at most 64 dimensions, TensorFlow of 254.
    if math.prod(shape) > MAX_VALUES or len(shape) > 64:
        raise invalid_argument(
            f"input {name!r} must have at most {MAX_VALUES} values in 64 dimensions. "
            f"Received: shape {shape}."
        )


def encode(values: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Writes a tensor of an answer into typed fields, as TensorFlow Serving does.

    Args:
        values: array.
        proto: empty tensor, filled.
    """
    if values.dtype not in _WRITTEN:
        proto.CopyFrom(tf.make_tensor_proto(values))
        return
    proto.dtype, field = _WRITTEN[values.dtype]
    for size in values.shape:
        proto.tensor_shape.dim.add().size = size
    getattr(proto, field).extend(values.ravel().tolist())


def _from_content(
    name: str, content: bytes, shape: tuple[int, ...], size: int, info: TensorInfo
) -> np.ndarray:
    # Of strings, the content has another form, which no client writes.
    if info.is_string or len(content) != size * info.numpy_dtype.itemsize:
        raise invalid_argument(
            f"input {name!r} must have the bytes of {size} values of type "
            f"{info.dtype.name}. Received: {len(content)} bytes of `tensor_content`."
        )
    return np.frombuffer(content, info.numpy_dtype).reshape(shape)


def _from_values(
    name: str,
    proto: tensor_pb2.TensorProto,
    shape: tuple[int, ...],
    size: int,
    info: TensorInfo,
) -> np.ndarray:
    if info.field is None:
        try:
            return tf.make_ndarray(proto)
        except (TypeError, ValueError) as error:
            raise invalid_argument(f"input {name!r}: {error}") from error
    values = list(getattr(proto, info.field))
    if len(values) > size or (size and not values):
        raise invalid_argument(
            f"input {name!r} must have {size} values in `{info.field}`, as its shape "
            f"says. Received: {len(values)}."
        )
    repeats = size - len(values)
    if info.is_string and repeats:
        _check_repeats(name, repeats, len(values[-1]), info)
    try:
        array = np.array(values, info.numpy_dtype)
    except OverflowError as error:
        raise invalid_argument(f"input {name!r}: {error}") from error
    if repeats:
        given, array = array, np.full(size, array[-1], info.numpy_dtype)
        array[: len(given)] = given
    return array.reshape(shape)


def _check_repeats(name: str, repeats: int, length: int, info: TensorInfo) -> None:
    # Numbers take no more memory than the limit on values allows.
    if repeats > info.max_rows or repeats * length > MAX_VALUES:
        raise invalid_argument(
            f"input {name!r} must repeat its last value at most {info.max_rows} times "
            f"and {MAX_VALUES} bytes. Received: {repeats} times."
        )


def _dtype_name(enum: int) -> str:
    try:
        return tf.as_dtype(enum).name
    except TypeError:
        return f"number {enum}"
