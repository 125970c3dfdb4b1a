import itertools
import random

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.aggregators import PCGrad

# Rows meet at an inner product of -2; squared norms are 5 and 10.
JACOBIAN = [[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]]


def reference(jacobian, order):
    """Sum of the edited rows, by editing them."""
    edited = jacobian.copy()
    for i, visits in enumerate(order):
        for j in visits:
            product = edited[i] @ jacobian[j]
            if j != i and product < 0:
                edited[i] -= product / (jacobian[j] @ jacobian[j]) * jacobian[j]
    return edited.sum(axis=0)


def conflicting_rows(num_tasks):
    rows = np.random.default_rng(num_tasks).normal(size=(num_tasks, num_tasks + 1))
    return rows - 0.5 * rows.mean(axis=0)


@pytest.mark.parametrize("order", ["random", "natural"])
def test_two_tasks_match_hand_computation(order):
    aggregator = PCGrad(order=order)
    gramian = tf.matmul(JACOBIAN, JACOBIAN, transpose_b=True)
    # g1 + 2/10 g2 and g2 + 2/5 g1, summed.
    np.testing.assert_allclose(aggregator.weights(gramian), [1.4, 1.2], rtol=1e-6)
    direction = aggregator(JACOBIAN)
    np.testing.assert_allclose(direction, [1.6, 3.6, 1.4], rtol=1e-6)


def test_mean_is_the_sum_over_the_number_of_tasks():
    direction = PCGrad(reduction="mean")(JACOBIAN)
    np.testing.assert_allclose(direction, [0.8, 1.8, 0.7], rtol=1e-6)


def test_tasks_without_conflict_are_summed():
    jacobian = [[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]
    np.testing.assert_array_equal(PCGrad()(jacobian), [2.0, 3.0])


@pytest.mark.parametrize("num_tasks", [3, 5, 8])
def test_given_order_matches_reference(num_tasks):
    jacobian = conflicting_rows(num_tasks)
    shuffle = np.random.default_rng(0).permutation
    order = [shuffle(num_tasks).tolist() for _ in range(num_tasks)]
    direction = PCGrad(order=order)(jacobian)
    np.testing.assert_allclose(direction, reference(jacobian, order), rtol=1e-9)


def test_tasks_and_given_order_can_be_permuted_together():
    jacobian = conflicting_rows(4)
    order = [[1, 3, 2, 0], [0, 2, 1, 3], [3, 2, 1, 0], [2, 0, 3, 1]]
    place = [2, 0, 3, 1]
    moved = [[place.index(j) for j in order[i]] for i in place]
    np.testing.assert_allclose(
        PCGrad(order=moved)(jacobian[place]), PCGrad(order=order)(jacobian), rtol=1e-9
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_random_order_draws_every_order(jit_compile):
    jacobian = conflicting_rows(3)
    others = [[[1, 2], [2, 1]], [[0, 2], [2, 0]], [[0, 1], [1, 0]]]
    possible = np.stack([reference(jacobian, o) for o in itertools.product(*others)])
    step = tf.function(PCGrad(seed=3), jit_compile=jit_compile)
    drawn = np.stack([step(tf.constant(jacobian)) for _ in range(100)])
    distances = np.abs(drawn[:, None] - possible[None]).max(axis=-1)
    assert distances.min(axis=1).max() < 1e-9
    # Orders that make no difference are possible twice.
    assert distances.min(axis=0).max() < 1e-9


def test_seed_is_drawn_once_and_kept():
    random.seed(0)
    first, second = PCGrad(), PCGrad()
    assert first.seed != second.seed
    repeated = PCGrad.from_config(first.get_config())
    jacobian = conflicting_rows(6)
    for _ in range(3):
        np.testing.assert_array_equal(repeated(jacobian), first(jacobian))


def test_resumed_state_draws_the_same_orders():
    aggregator = PCGrad(seed=1)
    jacobian = conflicting_rows(6)
    aggregator(jacobian)
    # A skipped step must not draw.
    aggregator(jacobian * np.nan)
    resumed = PCGrad(seed=2)
    resumed.build(6)
    for variable, other in zip(resumed.variables, aggregator.variables, strict=True):
        variable.assign(other)
    uninterrupted = PCGrad(seed=1)
    uninterrupted(jacobian)
    expected = uninterrupted(jacobian)
    np.testing.assert_array_equal(aggregator(jacobian), expected)
    np.testing.assert_array_equal(resumed(jacobian), expected)


def test_state_is_the_seed_generator_of_a_random_order():
    for order, num_variables in (("random", 2), ("natural", 1)):
        aggregator = PCGrad(order=order)
        aggregator.build(3)
        assert len(aggregator.variables) == num_variables


@pytest.mark.parametrize("order", ["reverse", [[0, 1], [0, 0]], [[0, 1, 2], [0, 1]]])
def test_bad_order_is_refused(order):
    with pytest.raises(ValueError, match="`order` must be"):
        PCGrad(order=order)


def test_size_of_a_given_order_is_checked_in_build():
    with pytest.raises(ValueError, match="one permutation for each of 3 tasks"):
        PCGrad(order=[[0, 1], [1, 0]]).build(3)
