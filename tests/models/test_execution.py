"""Eager, graph and XLA do the same work, and the graph holds only what it must."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import aggregators, features, models

from .problem import (
    ARCHITECTURES,
    FEATURES,
    SHARING,
    TASKS,
    as_tensors,
    assert_same,
    is_different,
    make_aggregator,
    make_batch,
    make_dataset,
    make_model,
    make_sgd,
)

MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
}
SURFACES = ("parameters", "representation")
# Reductions of XLA add up in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
# Kinds of operation that leave the device for Python.
HOST_OPS = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "HostCompute"}


def surfaces_of(name):
    """The surfaces on which an aggregator works differently."""
    kind = type(make_aggregator(name)).kind
    return SURFACES if kind == "gramian" else SURFACES[:1]


def train(
    name, aggregator, mode, surface="parameters", optimizer=None, steps=3, **kwargs
):
    model = make_model(name, **kwargs)
    model.compile(
        optimizer or make_sgd(), make_aggregator(aggregator), surface, **MODES[mode]
    )
    model.fit(make_dataset(steps), verbose=0)
    return model


# One of each kind, at length. How each method computes eagerly, in a graph and compiled
# is the business of tests/aggregators/test_contract.py; what the step does depends on
# the kind.
ONE_OF_EACH_KIND = ("ew", "gradcraft", "metabalance")


@pytest.mark.parametrize(
    ("aggregator", "surface"),
    [(name, s) for name in ONE_OF_EACH_KIND for s in surfaces_of(name)],
)
def test_eager_graph_and_xla_agree(aggregator, surface):
    eager, *others = (train("mmoe", aggregator, mode, surface) for mode in MODES)
    for other in others:
        assert_same(other.get_weights(), eager.get_weights(), **TOLERANCE)
        assert_same(other.aggregator.variables, eager.aggregator.variables)


def pairs():
    """Each method on an architecture and a surface, in turns.

    Slow: a method of each kind on all architectures.
    """
    # Where nothing is shared, only the kind of the aggregator counts.
    found = [("single_task", name, SURFACES[0]) for name in ONE_OF_EACH_KIND]
    for i, aggregator in enumerate(aggregators.names()):
        surfaces = surfaces_of(aggregator)
        surface = surfaces[i % len(surfaces)]
        for j, architecture in enumerate(SHARING):
            if j == i % len(SHARING):
                found.append((architecture, aggregator, surface))
            elif aggregator in ONE_OF_EACH_KIND:
                found.append(
                    pytest.param(
                        architecture, aggregator, surface, marks=pytest.mark.slow
                    )
                )
    return found


@pytest.mark.parametrize(("architecture", "aggregator", "surface"), pairs())
def test_compiled_steps_are_those_of_eager_ones(architecture, aggregator, surface):
    # Fewer features compile faster; a network of a user has all of them.
    few = {} if architecture == "multi_task" else {"features": FEATURES[:1]}
    eager, xla = (
        train(architecture, aggregator, mode, surface, steps=2, **few)
        for mode in ("eager", "xla")
    )
    assert_same(xla.get_weights(), eager.get_weights(), **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("aggregator", aggregators.names())
def test_every_aggregator_trains_every_architecture(architecture, aggregator):
    # Eagerly: a compiled step stays mapped in memory for good, and a process has room
    # for some 100 of them.
    for surface in surfaces_of(aggregator):
        model = make_model(architecture)
        before = model.get_weights()
        method = aggregators.get(aggregator)
        model.compile(make_sgd(), method, surface, run_eagerly=True)
        logs = model.fit(make_dataset(3), verbose=0).history
        assert logs["skipped_updates"] == [0]
        assert np.all(np.isfinite([values[0] for values in logs.values()]))
        assert all(np.isfinite(v).all() for v in model.variables)
        assert is_different(model.get_weights(), before)


def test_exact_rows_of_a_network_compile():
    eager, xla = (train("multi_task", "gradcraft", mode) for mode in ("eager", "xla"))
    assert_same(xla.get_weights(), eager.get_weights(), **TOLERANCE)


def test_lazy_adam_agrees_with_eager():
    adam = tf_mtl.optimizers.LazyAdam
    actual = train("mmoe", "gradcraft", "xla", optimizer=adam(0.01))
    expected = train("mmoe", "gradcraft", "eager", optimizer=adam(0.01))
    # Adam divides by the size of the gradient: rounding of tiny ones shows.
    assert_same(actual.get_weights(), expected.get_weights(), rtol=1e-3, atol=1e-4)


def traced_nodes(model, data):
    """All nodes of the train step, those of its function library too."""
    step = tf.function(model.train_step, autograph=False)
    step = step.get_concrete_function(data)
    definition = step.graph.as_graph_def(add_shapes=True)
    return [
        *definition.node,
        *(node for f in definition.library.function for node in f.node_def),
    ]


@pytest.mark.parametrize("aggregator", aggregators.names())
def test_step_has_no_host_callback(aggregator):
    model = make_model("mmoe", features=FEATURES[:1])
    model.compile(tf_mtl.optimizers.LazyAdam(), make_aggregator(aggregator))
    nodes = traced_nodes(model, as_tensors(make_batch()))
    assert len(nodes) > 100
    assert not HOST_OPS & {node.op for node in nodes}


@pytest.mark.parametrize("architecture", ["mmoe", "shared_bottom", "single_task"])
@pytest.mark.parametrize("surface", SURFACES)
def test_step_has_no_operation_of_the_size_of_a_table(architecture, surface):
    # A prime, so that the size stands out in any shape.
    num_ids = 100_003
    ids = features.IntegerRange("id", num_values=num_ids - 2, embedding_dim=2)
    cls = models.get(architecture)
    model = cls([ids], TASKS)
    model.compile(tf_mtl.optimizers.LazyAdam(), "gradcraft", surface)
    model.optimizer.build(model.trainable_variables)
    _, labels = make_batch()
    data = as_tensors(({"id": np.arange(16, dtype="int32")}, labels))
    sized = [
        node.name
        for node in traced_nodes(model, data)
        for shape in node.attr["_output_shapes"].list.shape
        if num_ids in [dim.size for dim in shape.dim]
    ]
    assert sized == []


def test_later_steps_do_not_retrace():
    traces = []

    def counted(labels, outputs):
        traces.append(None)
        return tf.square(outputs - labels)

    tasks = [*TASKS[:2], tf_mtl.Task("dwell", kind="regression", loss=counted)]
    model = make_model("mmoe", tasks)
    model.compile(make_sgd(), "gradcraft", jit_compile=False)
    model.fit(make_dataset(2), verbose=0)
    first = len(traces)
    assert first > 0
    other = make_batch(rows=32, seed=7)
    other[1]["dwell"][:] = np.nan
    model.fit(tf.data.Dataset.from_tensor_slices(other).batch(16, True), verbose=0)
    assert len(traces) == first


@pytest.fixture
def restored_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("surface", SURFACES)
def test_mixed_bfloat16_is_near_float32(surface, restored_policy):
    runs = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        model = make_model("mmoe")
        model.compile(keras.optimizers.SGD(0.1), "gradcraft", surface, run_eagerly=True)
        model.fit(make_dataset(), verbose=0)
        runs[policy] = model
        assert all(w.dtype == "float32" for w in model.trainable_variables)
    # bfloat16 has 8 bits: about 0.4 % of each activation and gradient.
    assert_same(
        runs["mixed_bfloat16"].get_weights(),
        runs["float32"].get_weights(),
        rtol=0.02,
        atol=5e-3,
    )
    model = runs["mixed_bfloat16"]
    assert model.expert.compute_dtype == "bfloat16"
    inputs, _ = as_tensors(make_batch())
    for outputs in (model(inputs), model.predictions(inputs)):
        assert {tensor.dtype for tensor in outputs.values()} == {tf.float32}
