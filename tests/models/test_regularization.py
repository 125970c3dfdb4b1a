"""Activation and L2 penalties, as every architecture takes them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.aggregators import GramianWeighting
from tf_mtl.layers import PersonalMLP, StackedMLP

from .problem import (
    ARCHITECTURES,
    ROWS,
    TASKS,
    as_tensors,
    flat_gramian,
    gradients_by_task,
    is_shared,
    make_batch,
    make_model,
)

# A network of your own has its own activations and regularizers.
NAMES = sorted(set(ARCHITECTURES) - {"multi_task"})
# Without weights on the losses, penalties alone move anything.
WEIGHTLESS = [dataclasses.replace(task, weight=0.0) for task in TASKS]
L2 = 0.25


class Triple(GramianWeighting):
    """Weighs whatever tasks share by 3."""

    def _weights(self, gramian, losses, present):
        return 3 * tf.ones_like(gramian[0])


def stacks_of(model):
    """Experts, bottoms and towers."""
    layers = model._flatten_layers()
    stacks = [layer for layer in layers if isinstance(layer, (StackedMLP, PersonalMLP))]
    assert stacks
    return stacks


def changes_of(model, **kwargs):
    """What a step with learning rate 1 takes away of each variable, by id."""
    before = [v.numpy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True, **kwargs)
    model.train_on_batch(*make_batch())
    pairs = zip(model.trainable_variables, before, strict=True)
    return {id(v): old - v.numpy() for v, old in pairs}


def expected_of_tables(model):
    """Gradient of the penalty of looked-up vectors, by id of the table."""
    inputs, _ = make_batch()
    listed = inputs["history"][inputs["history"] != 0]
    ids = {"user": inputs["user"], "items": np.append(inputs["item"], listed)}
    expected = {}
    for layer in model._embeddings:
        for name, table in layer.tables.items():
            counts = np.bincount(ids[name], minlength=table.shape[0])
            expected[id(table)] = 2 * L2 / ROWS * counts[:, None] * table.numpy()
    return expected


def check(model, expected, **kwargs):
    for key, change in changes_of(model, **kwargs).items():
        np.testing.assert_allclose(change, expected.get(key, 0.0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_activation_is_that_of_all_hidden_layers(name):
    model = make_model(name, activation="tanh")
    for each in (model, type(model).from_config(model.get_config())):
        for stack in stacks_of(each):
            functions = [dense.activation.__name__ for dense in stack.dense]
            hidden = len(stack.units)
            assert functions == ["tanh"] * hidden + ["linear"] * (
                len(functions) - hidden
            )


@pytest.mark.parametrize("name", NAMES)
def test_embedding_l2_shrinks_what_is_looked_up_and_nothing_else(name):
    model = make_model(name, tasks=WEIGHTLESS, embedding_l2=L2)
    expected = expected_of_tables(model)
    assert any(np.any(rows == 0) and np.any(rows != 0) for rows in expected.values())
    check(model, expected)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_l2_shrinks_kernels_and_nothing_else(name):
    model = make_model(name, tasks=WEIGHTLESS, kernel_l2=L2)
    kernels = [d.kernel for stack in stacks_of(model) for d in stack.dense]
    if name == "aitm":
        kernels.append(model.tower.kernel)
    check(model, {id(kernel): 2 * L2 * kernel.numpy() for kernel in kernels})


@pytest.mark.parametrize("surface", ["parameters", "representation"])
@pytest.mark.parametrize("name", ["mmoe", "stem", "meta_heac"])
def test_no_aggregator_sees_a_penalty(name, surface):
    model = make_model(name, tasks=WEIGHTLESS, embedding_l2=L2, kernel_l2=L2)
    expected = expected_of_tables(model)
    for stack in stacks_of(model):
        expected |= {id(d.kernel): 2 * L2 * d.kernel.numpy() for d in stack.dense}
    check(model, expected, aggregator=Triple(), surface=surface)


def test_task_gradients_hold_no_penalty():
    batch = as_tensors(make_batch())
    model = make_model("mmoe", embedding_l2=L2, kernel_l2=L2)
    model.compile("sgd")
    rows = gradients_by_task(model, *batch)
    shared = [r * s for r, s in zip(rows, is_shared(model), strict=True)]
    np.testing.assert_allclose(model.gramian(*batch), flat_gramian(shared), rtol=1e-4)


def test_penalty_costs_looked_up_rows_alone():
    model = make_model("mmoe", embedding_l2=L2)
    model.compile("sgd")
    inputs, _ = as_tensors(make_batch())
    tables = [table.value for table in model.embedding.tables.values()]
    for _ in range(2):  # A second pass forgets the first.
        with tf.GradientTape() as tape:
            model.task_outputs(inputs, training=True)
            penalty = model.penalty()
        squares = [
            np.sum(np.square(table.numpy()[inputs[name]]) * mask)
            for table, name, mask in (
                (tables[0], "user", 1),
                (tables[1], "item", 1),
                (tables[1], "history", inputs["history"].numpy()[..., None] != 0),
            )
        ]
        np.testing.assert_allclose(penalty, L2 * sum(squares) / ROWS, rtol=1e-5)
        found = tape.gradient(penalty, tables)
        assert all(isinstance(gradient, tf.IndexedSlices) for gradient in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_l2": -0.1}, "`embedding_l2` must be at least 0. Received: .*-0.1"),
        ({"kernel_l2": -1}, "`kernel_l2` must be at least 0"),
        ({"activation": "rellu"}, "rellu"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model("mmoe", **arguments)
