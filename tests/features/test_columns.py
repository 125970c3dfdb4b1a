"""Raw columns: what is read, and what is refused with which words."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.features.columns import Column

SCALAR = Column("x", tf.string, "")
LIST = Column("x", tf.int64, -1, is_list=True)


def test_missing_column_names_itself_and_what_is_there():
    with pytest.raises(ValueError, match=r"'x' is missing.*\['a', 'b'\]"):
        SCALAR.read({"b": 1, "a": 2})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (SCALAR, [1]),
        (LIST, [[1.0]]),
        (LIST, [["1"]]),
        (Column("x", tf.float32, float("nan")), ["1"]),
    ],
)
def test_wrong_dtype_is_refused(column, value):
    with pytest.raises(TypeError, match=r"Column 'x' is read as.*dtype="):
        column.read({"x": value})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (SCALAR, "a"),
        (SCALAR, [["a"]]),
        (SCALAR, tf.ragged.constant([["a"]])),
        (LIST, [1]),
        (LIST, tf.ragged.constant([[[1]]])),
    ],
)
def test_wrong_shape_is_refused(column, value):
    with pytest.raises(ValueError, match=r"Column 'x' must have shape \[batch"):
        column.read({"x": value})


def test_lists_are_read_as_ragged_int64():
    rows = LIST.read({"x": np.array([[1, 2]], np.int32)})
    assert isinstance(rows, tf.RaggedTensor)
    assert rows.dtype == rows.row_splits.dtype == tf.int64


def test_signature_and_parsing():
    assert SCALAR.signature() == tf.TensorSpec([None], tf.string, "x")
    assert LIST.signature() == tf.TensorSpec([None, None], tf.int64, "x")
    assert SCALAR.parsing().default_value == ""
    assert Column("x", tf.int64, None).parsing().default_value is None
    assert isinstance(LIST.parsing(), tf.io.RaggedFeature)
