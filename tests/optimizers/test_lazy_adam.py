import doctest

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.optimizers import LazyAdam, lazy_adam


def test_two_steps_match_hand_computation():
    table = keras.Variable([[1.0], [2.0], [3.0]])
    optimizer = LazyAdam(learning_rate=0.1, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    # Row 0 is seen at step 1 only, row 2 at step 2 only, with its id repeated.
    first = tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([0]))
    second = tf.IndexedSlices(tf.constant([[1.0], [1.0]]), tf.constant([2, 2]))
    optimizer.apply([first], [table])
    optimizer.apply([second], [table])
    # Row 0: m = 2, v = 4, correction sqrt(0.25) / 0.5 = 1, change -0.1 * 2 / 2.
    # Row 2: m = 1, v = 1, correction sqrt(7 / 16) / 0.75 of the global step 2.
    expected = [[0.9], [2.0], [3.0 - 0.1 * np.sqrt(7.0 / 16.0) / 0.75]]
    np.testing.assert_allclose(table.numpy(), expected, rtol=1e-6)
    m, v = optimizer.slots(table.value)
    np.testing.assert_allclose(m.numpy(), [[2.0], [0.0], [1.0]], rtol=1e-6)
    np.testing.assert_allclose(v.numpy(), [[4.0], [0.0], [1.0]], rtol=1e-6)


def test_amsgrad_keeps_the_largest_second_moment_of_the_row():
    table = keras.Variable([[1.0], [2.0]])
    optimizer = LazyAdam(beta_2=0.5, amsgrad=True)
    for gradient in (4.0, 0.0):
        slices = tf.IndexedSlices(tf.constant([[gradient]]), tf.constant([1]))
        optimizer.apply([slices], [table])
    _, v, largest = optimizer.slots(table.value)
    np.testing.assert_allclose(v.numpy(), [[0.0], [4.0]], rtol=1e-6)
    np.testing.assert_allclose(largest.numpy(), [[0.0], [8.0]], rtol=1e-6)


def test_late_row_starts_with_the_stated_step():
    table = keras.Variable([[0.0], [0.0]])
    optimizer = LazyAdam(learning_rate=0.01)
    optimizer.build([table])
    optimizer.iterations.assign(100_000)
    slices = tf.IndexedSlices(tf.constant([[7.0]]), tf.constant([1]))
    optimizer.apply([slices], [table])
    expected = -0.01 * (1.0 - 0.9) / np.sqrt(1.0 - 0.999)
    np.testing.assert_allclose(table.numpy(), [[0.0], [expected]], rtol=1e-4)


def test_docstring_example():
    names = {"keras": keras, "tf": tf}
    assert doctest.testmod(lazy_adam, extraglobs=names).failed == 0
