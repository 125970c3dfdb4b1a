"""What a frozen method gives, in and outside of an export."""

import numpy as np
import tensorflow as tf

from tf_mtl.freezing import freezing, frozen, is_freezing


class Doubled:
    def __init__(self, size):
        self.weight = tf.Variable(tf.range(float(size)))
        self.calls = 0

    @frozen
    def value(self):
        self.calls += 1
        return {"is_eager": tf.executing_eagerly(), "doubled": [2.0 * self.weight]}


def trace(doubled):
    def add(x):
        found = doubled.value()
        assert not doubled.calls or found["is_eager"] is is_freezing()
        return x + found["doubled"][0]

    return tf.function(add).get_concrete_function(tf.TensorSpec([]))


def test_method_is_called_as_is_where_nothing_is_exported():
    doubled = Doubled(3)
    add = trace(doubled)
    doubled.weight.assign([5.0, 5.0, 5.0])
    np.testing.assert_array_equal(add(tf.constant(1.0)), [11.0, 11.0, 11.0])
    assert not is_freezing()


def test_small_value_is_a_constant_of_the_graph():
    doubled = Doubled(3)
    with freezing() as variables:
        first, second = trace(doubled), trace(doubled)
    doubled.weight.assign([5.0, 5.0, 5.0])
    for add in (first, second):
        np.testing.assert_array_equal(add(tf.constant(1.0)), [1.0, 3.0, 5.0])
        assert not add.captured_inputs
    assert doubled.calls == 1
    assert not variables


def test_large_value_is_one_variable_for_all_functions():
    doubled, other = Doubled(1000), Doubled(1000)
    with freezing() as variables:
        functions = trace(doubled), trace(doubled), trace(other)
    assert len(variables) == 2
    places = [variables[i].handle for i in (0, 0, 1)]
    for add, handle in zip(functions, places, strict=True):
        assert [id(t) for t in add.captured_inputs] == [id(handle)]
        np.testing.assert_array_equal(add(tf.constant(0.0)), 2.0 * np.arange(1000))
