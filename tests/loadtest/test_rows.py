"""Rows to ask about."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tf_mtl.loadtest import rows


def tensor_info(dtype, *sizes):
    info = meta_graph_pb2.TensorInfo(dtype=tf.as_dtype(dtype).as_datatype_enum)
    for size in sizes:
        info.tensor_shape.dim.add().size = size
    return info


INPUTS = {
    "age": tensor_info("float32", -1),
    "city": tensor_info("string", -1),
    "code": tensor_info("int64", -1),
    "tags": tensor_info("string", -1, -1),
}


def test_made_up_columns_have_the_types_of_the_inputs():
    columns = rows.made_up(INPUTS, seed=0)
    assert {name: (c.dtype.kind, c.shape[1:]) for name, c in columns.items()} == {
        "age": ("f", ()),
        "city": ("S", ()),
        "code": ("i", ()),
        "tags": ("S", (2,)),
    }
    again = rows.made_up(INPUTS, seed=0)
    assert all(np.array_equal(columns[name], again[name]) for name in INPUTS)


def test_examples_hold_the_columns():
    columns = rows.made_up(INPUTS, seed=1)
    spec = {
        "age": tf.io.FixedLenFeature([], tf.float32),
        "city": tf.io.FixedLenFeature([], tf.string),
        "code": tf.io.FixedLenFeature([], tf.int64),
        "tags": tf.io.FixedLenFeature([2], tf.string),
    }
    parsed = tf.io.parse_example(rows.to_examples(columns), spec)
    for name, column in columns.items():
        np.testing.assert_array_equal(parsed[name].numpy(), column)


def test_batches_go_round():
    found = list(itertools.islice(rows.batches(3, 2), 3))
    assert found == [[0, 1], [2, 0], [1, 2]]


def test_rows_of_a_file_are_read(tmp_path):
    path = str(tmp_path / "rows.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"a")
        writer.write(b"b")
    assert rows.from_file(path) == [b"a", b"b"]
    (tmp_path / "empty").touch()
    for name in ("empty", "absent"):
        with pytest.raises(ValueError, match="`examples`"):
            rows.from_file(tmp_path / name)
