"""Stacking of rows into blocks, and what is made of blocks, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.gradients import Block, TaskGradients, UniqueSlices, stack_rows

RNG = np.random.default_rng(0)
NUM_TASKS, IDS, WIDTH = 3, 7, 2


@pytest.fixture
def variables():
    return [
        tf.Variable(tf.zeros((4, 3)), name="kernel"),
        tf.Variable(tf.zeros((IDS, WIDTH)), name="table"),
        tf.Variable(tf.zeros(2), name="unused"),
    ]


def random(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


def slices(ids):
    return tf.IndexedSlices(random(len(ids), WIDTH), tf.constant(ids), [IDS, WIDTH])


def densify(gradient, variable):
    if gradient is None:
        return np.zeros(variable.shape, "float32")
    return tf.convert_to_tensor(gradient).numpy()


def rows_with(*table_gradients):
    return [[random(4, 3), g, None] for g in table_gradients]


# Gradients of the table by task: of one lookup, of lookups of their own, of a task that
# does not read it, of a task that reads it whole.
TABLES = {
    "same_lookups": lambda: [slices([5, 1, 5]) for _ in range(NUM_TASKS)],
    "own_lookups": lambda: [slices([5, 1, 5]), slices([0]), slices([1, 1])],
    "unreached": lambda: [slices([5, 1, 5]), None, slices([0, 5])],
    "whole": lambda: [slices([5, 5]), random(IDS, WIDTH), slices([2])],
}


@pytest.fixture(params=TABLES)
def rows(request):
    return rows_with(*TABLES[request.param]()), request.param == "same_lookups"


def test_blocks_hold_the_rows(rows, variables):
    rows, same_lookups = rows
    stacked = stack_rows(rows, variables, same_lookups)
    kernel, table = stacked.blocks
    assert kernel.variable is variables[0]
    assert table.variable is variables[1]
    np.testing.assert_array_equal(kernel.rows, tf.stack([row[0] for row in rows]))
    assert table.reached == tuple(row[1] is not None for row in rows)
    for t in range(NUM_TASKS):
        gradient = table.gradient(table.rows[t])
        assert isinstance(gradient, UniqueSlices)
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient), densify(rows[t][1], variables[1]), rtol=1e-6
        )


def test_gramian_is_that_of_the_flattened_jacobian(rows, variables):
    rows, same_lookups = rows
    flat = np.stack(
        [
            np.concatenate(
                [densify(g, v).ravel() for g, v in zip(row, variables, strict=True)]
            )
            for row in rows
        ]
    )
    gramian = stack_rows(rows, variables, same_lookups).gramian()
    np.testing.assert_allclose(gramian, flat @ flat.T, rtol=1e-5)


def test_weighted_sum_is_that_of_the_gradients(rows, variables):
    rows, same_lookups = rows
    weights = [0.5, 2.0, -1.0]
    found = stack_rows(rows, variables, same_lookups).weighted_sum(tf.constant(weights))
    for i, gradient in enumerate(found):
        expected = sum(
            w * densify(row[i], variables[i])
            for w, row in zip(weights, rows, strict=True)
        )
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient), expected, rtol=1e-5, atol=1e-6
        )


def test_combine_hands_over_all_blocks(rows, variables):
    rows, same_lookups = rows
    stacked = stack_rows(rows, variables, same_lookups)
    found = stacked.combine(lambda blocks: [tf.reduce_sum(b, 0) for b in blocks])
    for actual, expected in zip(
        found, stacked.weighted_sum(tf.ones(NUM_TASKS)), strict=True
    ):
        np.testing.assert_allclose(
            tf.convert_to_tensor(actual), tf.convert_to_tensor(expected), rtol=1e-5
        )


def test_gramian_of_low_precision_rows_is_float32(variables):
    rows = tf.cast(random(2, 4, 3), tf.bfloat16)
    block = Block(variables[0], rows, None, (True, True))
    assert TaskGradients([block], 2).gramian().dtype == tf.float32


def test_unreached_variables_have_no_block(variables):
    rows = [[None, None, None] for _ in range(NUM_TASKS)]
    stacked = stack_rows(rows, variables)
    assert stacked.blocks == []
    np.testing.assert_array_equal(stacked.gramian(), np.zeros((3, 3)))


@pytest.mark.parametrize("first", ["dense", "sparse", "none"])
@pytest.mark.parametrize("second", ["dense", "sparse", "none"])
def test_add_gradients(first, second, variables):
    kinds = {
        "dense": random(IDS, WIDTH),
        "sparse": slices([5, 1, 5]),
        "none": None,
    }
    pair = [kinds[first], kinds[second]]
    found = gradients.add_gradients(*pair)
    expected = sum(densify(g, variables[1]) for g in pair)
    np.testing.assert_allclose(densify(found, variables[1]), expected, rtol=1e-6)
    assert (found is None) == (first == second == "none")


def test_map_gradient_keeps_the_kind():
    unique = gradients.unique_slices(slices([5, 1, 5]))
    halved = gradients.map_gradient(lambda g: g / 2, unique)
    assert isinstance(halved, UniqueSlices)
    np.testing.assert_allclose(halved.values, unique.values / 2)
    np.testing.assert_allclose(gradients.map_gradient(lambda g: g / 2, tf.ones(2)), 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_all_finite_looks_at_every_gradient(bad):
    sparse = tf.IndexedSlices(tf.constant([[bad]]), tf.constant([0]), [3, 1])
    assert gradients.all_finite([tf.ones(2), None])
    assert gradients.all_finite([])
    assert not gradients.all_finite([tf.ones(2), tf.constant([bad])])
    assert not gradients.all_finite([tf.ones(2), sparse])


def test_task_specific_variables_are_split_from_shared_ones():
    own, first, second = random(4, 3), random(2), random(2)
    rows = [[own, first, None], [None, second, None]]
    found, shared = gradients.split_task_specific(rows)
    assert found == [own, None, None]
    assert shared == [[None, first, None], [None, second, None]]


def test_directions_go_to_their_variables(variables):
    kernel, table, unused = variables
    stacked = stack_rows(rows_with(slices([5, 1, 5]), slices([0])), variables)
    directions = stacked.weighted_sum(tf.ones(2))
    found = stacked.by_variable(directions, [unused, table, kernel])
    assert found == [None, directions[1], directions[0]]
