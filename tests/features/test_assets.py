"""Text files hold every value exactly."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.features.assets import read_values, write_values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (
            np.array(
                [b"a", b"", b"\n", b"\\", b"\\n", b"a\\\nb", b"\r\n", b"\xff\x00"],
                object,
            ),
            tf.string,
        ),
        (np.array(["Zürich".encode()], object), tf.string),
        (np.array([], object), tf.string),
        (np.array([-(2**63), 0, 2**63 - 1]), tf.int64),
        (np.array([0.1, -1e300, 5e-324, 1 / 3]), tf.float32),
    ],
)
def test_values_read_back_the_same(tmp_path, values, dtype):
    path = tmp_path / "values.txt"
    write_values(path, values)
    result = read_values(path, dtype)
    assert result.tolist() == values.tolist()
    assert path.read_bytes().count(b"\n") == len(values)
