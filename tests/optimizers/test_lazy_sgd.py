import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.optimizers import LazySGD


def test_equals_the_dense_rule_without_momentum():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(9, 2))
    tables = keras.Variable(start), keras.Variable(start)
    lazy, dense = LazySGD(0.3), keras.optimizers.SGD(0.3)
    for _ in range(20):
        slices = tf.IndexedSlices(
            tf.constant(rng.normal(size=(6, 2)), tf.float32),
            tf.constant(rng.integers(0, 9, 6)),
            tf.constant([9, 2]),
        )
        lazy.apply([slices], [tables[0]])
        dense.apply([tf.convert_to_tensor(slices)], [tables[1]])
    np.testing.assert_allclose(
        tables[0].numpy(), tables[1].numpy(), rtol=1e-6, atol=1e-6
    )
    assert lazy.slots(tables[0].value) == []


@pytest.mark.parametrize(("nesterov", "last"), [(False, -0.35), (True, -0.475)])
def test_momentum_waits_for_the_next_lookup(nesterov, last):
    table = keras.Variable([[0.0], [0.0]])
    optimizer = LazySGD(learning_rate=0.1, momentum=0.5, nesterov=nesterov)
    one, zero, two = (
        tf.IndexedSlices(tf.constant([[g]]), tf.constant([i]))
        for g, i in [(1.0, 0), (3.0, 1), (2.0, 0)]
    )
    for slices in (one, zero, two):
        optimizer.apply([slices], [table])
    # Velocity of row 0: -0.1, kept while row 1 is looked up, then -0.05 - 0.2.
    # Plain: -0.1 - 0.25. Nesterov: (-0.05 - 0.1) + (-0.125 - 0.2).
    np.testing.assert_allclose(table.numpy()[0], [last], rtol=1e-6)
    (velocity,) = optimizer.slots(table.value)
    np.testing.assert_allclose(velocity.numpy(), [[-0.25], [-0.3]], rtol=1e-6)
