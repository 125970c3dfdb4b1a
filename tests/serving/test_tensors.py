"""Tensors of requests: what is read, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tf_mtl.serving import tensors
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.tensors import TensorInfo

ANY = tf.TensorShape(None)


def info(dtype, shape=ANY):
    return TensorInfo("x:0", tf.as_dtype(dtype), tf.TensorShape(shape))


def proto(dtype, shape, **fields):
    made = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        made.tensor_shape.dim.add().size = size
    return made


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16"]
    + ["uint32", "uint64", "bool", "float16", "bfloat16"],
)
def test_both_forms_of_numbers_are_read(dtype):
    dtype = tf.as_dtype(dtype)
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.as_numpy_dtype)
    as_content = proto(dtype, [2, 3], tensor_content=values.tobytes())
    found = tensors.decode("x", as_content, info(dtype))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype
    as_values = tensor_pb2.TensorProto()
    tensors.encode(values, as_values)
    np.testing.assert_array_equal(tensors.decode("x", as_values, info(dtype)), values)


def test_strings_are_read_and_written_as_bytes():
    values = np.array([[b"a", b"\xff"], [b"", b"d"]], object)
    written = tensor_pb2.TensorProto()
    tensors.encode(values, written)
    found = tensors.decode("x", written, info(tf.string))
    assert found.tolist() == values.tolist()


def test_last_value_is_repeated():
    given = proto("float32", [2, 2], float_val=[1.0, 2.0])
    found = tensors.decode("x", given, info("float32"))
    np.testing.assert_array_equal(found, [[1, 2], [2, 2]])
    np.testing.assert_array_equal(found, tf.make_ndarray(given))


def test_one_number_may_fill_a_tensor():
    given = tf.make_tensor_proto(0.5, shape=[2048, 64])
    assert len(given.float_val) == 1
    small = TensorInfo("x:0", tf.float32, ANY, max_rows=2048)
    found = tensors.decode("x", given, small)
    np.testing.assert_array_equal(found, np.full([2048, 64], 0.5))
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        (proto("int64", [1], int64_val=[1]), info("int32"), "type int32.*int64"),
        (tensor_pb2.TensorProto(dtype=99), info("int32"), "number 99"),
        (proto("int64", [1, 1], int64_val=[1]), info("int64", [None]), "shape"),
        (proto("int64", [3], int64_val=[1]), info("int64", [2]), "shape"),
        (proto("int64", [-1], int64_val=[1]), info("int64", [None]), "shape"),
        (proto("int64", [-1, -1], int64_val=[1]), info("int64"), "shape"),
        (proto("int64", [2**40], int64_val=[1]), info("int64", [None]), "at most"),
        (proto("int64", [2**62] * 9, int64_val=[1]), info("int64"), "at most"),
        (proto("int64", [1] * 99, int64_val=[1]), info("int64"), "64 dimensions"),
        (proto("int64", [2]), info("int64", [None]), "2 values.*Received: 0"),
        (proto("int64", [1], int64_val=[1, 2]), info("int64", [None]), "Received: 2"),
        (proto("int64", [0], int64_val=[1]), info("int64", [None]), "Received: 1"),
        (proto("int8", [1], int_val=[300]), info("int8", [None]), "300"),
        (proto("int64", [2], tensor_content=b"1234567"), info("int64"), "7 bytes"),
        (proto("string", [1], tensor_content=b"1"), info("string"), "tensor_content"),
    ],
)
def test_wrong_tensors_are_refused(given, wanted, message):
    with pytest.raises(RequestError, match=message):
        tensors.decode("x", given, wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (proto("string", [9], string_val=[b""]), "at most 8 rows. Received: 9"),
        (proto("string", [9, 0]), "at most 8 rows. Received: 9"),
        (proto("string", [2, 5], string_val=[b""]), "at most 8 times.*Received: 9"),
        (proto("string", [8], string_val=[b"x" * 2**22]), "bytes. Received: 7 times"),
    ],
)
def test_small_request_does_not_become_large(given, message):
    small = TensorInfo("x:0", tf.string, ANY, max_rows=8)
    with pytest.raises(RequestError, match=message):
        tensors.decode("x", given, small)


def test_as_many_rows_and_repeats_as_allowed_are_read():
    small = TensorInfo("x:0", tf.string, ANY, max_rows=8)
    given = proto("string", [8], string_val=[b"a"])
    assert tensors.decode("x", given, small).tolist() == [b"a"] * 8
    given = proto("string", [3, 3], string_val=[b"a"])
    assert tensors.decode("x", given, small).tolist() == [[b"a"] * 3] * 3
