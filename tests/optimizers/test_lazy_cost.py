"""A step of a lazy optimizer holds no operation of the size of the table."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.optimizers import LazyAdagrad, LazyAdam, LazySGD

# A prime, so that the size stands out in any shape.
ROWS = 100_003
DIM = 4
BATCH = 32

OPTIMIZERS = {
    "adagrad": (LazyAdagrad, {}),
    "adam": (LazyAdam, {}),
    "amsgrad": (LazyAdam, {"amsgrad": True}),
    "sgd": (LazySGD, {}),
    "nesterov": (LazySGD, {"momentum": 0.9, "nesterov": True}),
}
OPTIONS = {
    "plain": {},
    "all": {"global_clipnorm": 1.0, "weight_decay": 0.1, "loss_scale_factor": 8.0},
}
# Kinds of HLO instruction that read or write some rows of a table. A fusion is judged
# by the instructions in it, which are listed as well.
IN_PLACE = {"parameter", "scatter", "fusion", "get-tuple-element", "bitcast"}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_option = pytest.mark.parametrize("options", OPTIONS)


def make(name, options):
    optimizer, arguments = OPTIMIZERS[name]
    return optimizer(**arguments, **OPTIONS[options])


def make_step(optimizer, jit_compile, dtype="float32"):
    table = keras.Variable(np.zeros((ROWS, DIM)), dtype=dtype)
    kernel = keras.Variable(np.zeros((DIM, 2), "float32"))
    optimizer.build([table, kernel])

    @tf.function(jit_compile=jit_compile)
    def step(values, ids):
        gradient = tf.IndexedSlices(values, ids, tf.constant([ROWS, DIM]))
        optimizer.apply([gradient, tf.ones((DIM, 2))], [table, kernel])

    return step


def batch(dtype="float32"):
    return tf.ones((BATCH, DIM), dtype), tf.range(BATCH)


def table_sized_ops(graph, size=ROWS):
    """Names of the operations of a graph with an output of `size` rows."""
    definition = graph.as_graph_def(add_shapes=True)
    nodes = [
        *definition.node,
        *(n for f in definition.library.function for n in f.node_def),
    ]
    return [
        node.name
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
        if size in [dim.size for dim in shape.dim]
    ]


def table_sized_hlo(step, *args, size=ROWS):
    """Kinds of the HLO instructions, fused ones too, with a result of `size` rows."""
    hlo = step.experimental_get_compiler_ir(*args)(stage="optimized_hlo")
    return set(re.findall(rf"= \w+\[{size}[^=]*?\}} ([\w-]+)\(", hlo))


@every_optimizer
@every_option
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_graph_holds_no_op_of_the_size_of_the_table(name, options, dtype):
    step = make_step(make(name, options), False, dtype)
    concrete = step.get_concrete_function(*batch(dtype))
    assert table_sized_ops(concrete.graph) == []


@every_optimizer
@every_option
def test_xla_updates_the_table_in_place(name, options):
    step = make_step(make(name, options), True)
    kinds = table_sized_hlo(step, *batch())
    assert "scatter" in kinds
    assert kinds <= IN_PLACE


def test_the_checks_find_the_cost_of_a_keras_optimizer():
    graph = make_step(keras.optimizers.Adam(), False).get_concrete_function(*batch())
    assert table_sized_ops(graph.graph)
    kinds = table_sized_hlo(make_step(keras.optimizers.Adam(), True), *batch())
    assert "multiply" in kinds
