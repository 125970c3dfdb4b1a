import keras
import numpy as np
import tensorflow as tf

from tf_mtl.optimizers import LazyAdagrad


def test_equals_the_dense_rule():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(9, 2))
    tables = keras.Variable(start), keras.Variable(start)
    lazy = LazyAdagrad(0.3, initial_accumulator_value=0.2)
    dense = keras.optimizers.Adagrad(0.3, initial_accumulator_value=0.2)
    for _ in range(20):
        slices = tf.IndexedSlices(
            tf.constant(rng.normal(size=(6, 2)), tf.float32),
            tf.constant(rng.integers(0, 9, 6)),
            tf.constant([9, 2]),
        )
        lazy.apply([slices], [tables[0]])
        dense.apply([tf.convert_to_tensor(slices)], [tables[1]])
    for a, b in zip(
        [tables[0], *lazy.variables], [tables[1], *dense.variables], strict=True
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6)
