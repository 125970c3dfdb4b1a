"""Inner products against NumPy, in all types that models compute in."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import gradients

RNG = np.random.default_rng(0)
TYPES = pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])


def exact(tensor):
    return tf.cast(tensor, tf.float64).numpy()


@TYPES
@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5)])
def test_gramian(dtype, shape):
    rows = tf.constant(RNG.normal(size=shape), dtype)
    flat = exact(rows).reshape(3, -1)
    found = gradients.gramian(rows)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, flat @ flat.T, rtol=1e-5, atol=1e-6)


@TYPES
def test_inner_products(dtype):
    # Products that cancel, and squares beyond the range of float16.
    left = tf.constant(300.0 * RNG.normal(size=(3, 1, 4, 64)), dtype)
    right = tf.constant(300.0 * RNG.normal(size=(2, 4, 64)), dtype)
    found = gradients.inner_products(left, right)
    assert found.dtype == ("float64" if dtype == "float64" else "float32")
    expected = np.einsum("abcu,bcu->abc", exact(left), exact(right))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1.0)
