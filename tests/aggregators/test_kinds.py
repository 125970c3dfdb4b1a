"""What the base classes do for every hook, seen through small hooks."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators
from tf_mtl.aggregators import GramianWeighting, LossWeighting, RowAggregator

GRAMIAN = np.diag([1.0, 2.0, 3.0]).astype("float32")
PRESENT = np.array([True, False, True])


class Recorder(GramianWeighting):
    """Remembers the last Gramian and counts steps; fails on a large entry."""

    def _build(self, num_tasks):
        self.norms = self.add_variable("norms", (num_tasks,), task_axes=1)
        pairs = (num_tasks, num_tasks)
        self.products = self.add_variable("products", pairs, task_axes=2)
        self.steps = self.add_variable("steps", dtype="int32")

    def _weights(self, gramian, losses, present):
        self.norms.assign(tf.linalg.diag_part(gramian) + 10.0)
        self.products.assign(gramian + 10.0)
        self.steps.assign(self.steps.value + 1)
        largest = tf.reduce_max(gramian)
        return tf.where(largest <= 100.0, losses, float("nan"))


class InverseLoss(LossWeighting):
    """Weights a task by the inverse of its loss."""

    def _weights(self, losses, present):
        return 1.0 / losses


class LargestEntry(RowAggregator):
    """Takes the largest entry over tasks; fails where it is over 100."""

    def _combine(self, blocks, ids, losses, present):
        largest = [tf.reduce_max(block, axis=0) for block in blocks]
        return [tf.where(block <= 100.0, block, float("inf")) for block in largest]


def run(aggregator, jit_compile, *args):
    def step(*tensors):
        if isinstance(aggregator, RowAggregator):
            return aggregator.combine(*tensors)
        return aggregator.weights(*tensors)

    return tf.function(step, jit_compile=jit_compile)(*args)


def test_state_has_names_of_its_own():
    class Twice(Recorder):
        def _build(self, num_tasks):
            super()._build(num_tasks)
            self.add_variable("steps")

    with pytest.raises(ValueError, match="'steps', which Twice has"):
        Twice().build(2)
    nested = aggregators.get("pcgrad", loss_weighting="rlw")
    nested.build(2)
    names = list(nested.named_variables())
    assert "seed_generator_state" in names
    assert "loss_weighting-seed_generator_state" in names
    assert len(nested.variables) == len(names)


def test_variables_are_listed_in_order_of_creation():
    aggregator = Recorder()
    assert (aggregator.built, aggregator.num_tasks) == (False, None)
    aggregator.build(3)
    assert (aggregator.built, aggregator.num_tasks) == (True, 3)
    names = [variable.name for variable in aggregator.variables]
    assert names == ["fallback_count", "norms", "products", "steps"]


def test_build_again_keeps_the_state():
    aggregator = Recorder()
    aggregator.build(3)
    variables = aggregator.variables
    aggregator.build(3)
    assert [id(v) for v in aggregator.variables] == [id(v) for v in variables]
    with pytest.raises(ValueError, match="built with 3"):
        aggregator.build(4)


def test_build_refuses_no_task():
    with pytest.raises(ValueError, match="`num_tasks` must be at least 1"):
        Recorder().build(0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_state_of_absent_tasks_stays_as_it_was(jit_compile):
    aggregator = Recorder()
    run(aggregator, jit_compile, GRAMIAN, None, PRESENT)
    np.testing.assert_array_equal(aggregator.norms, [11.0, 0.0, 13.0])
    np.testing.assert_array_equal(
        aggregator.products, [[11.0, 0.0, 10.0], [0.0, 0.0, 0.0], [10.0, 0.0, 13.0]]
    )
    assert aggregator.steps.numpy() == 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_failed_result_falls_back_to_the_mean_and_is_counted(jit_compile):
    aggregator = Recorder()
    weights = run(aggregator, jit_compile, 100.0 * GRAMIAN, None, PRESENT)
    np.testing.assert_array_equal(weights, [0.5, 0.0, 0.5])
    assert aggregator.fallback_count.numpy() == 1
    assert aggregator.steps.numpy() == 0


def test_non_finite_gramian_is_not_counted_as_a_failure():
    aggregator = Recorder()
    weights = aggregator.weights(GRAMIAN * np.nan, None, PRESENT)
    np.testing.assert_array_equal(weights, [np.nan, 0.0, np.nan])
    assert aggregator.fallback_count.numpy() == 0
    assert aggregator.steps.numpy() == 0


def test_non_finite_loss_makes_gramian_weights_nan():
    weights = Recorder().weights(GRAMIAN, [1.0, np.inf, 1.0])
    assert np.all(np.isnan(weights))


def test_absent_loss_does_not_reach_the_hook():
    aggregator = InverseLoss()
    weights = aggregator.weights([2.0, 0.0, 4.0], PRESENT)
    np.testing.assert_array_equal(weights, [0.5, 0.0, 0.25])
    assert aggregator.fallback_count.numpy() == 0


def test_losses_are_required_where_they_are_read():
    with pytest.raises(ValueError, match="`losses` must be given to InverseLoss"):
        InverseLoss()(np.ones([3, 2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(gramian=np.ones([3, 2])), "`gramian` must have shape"),
        (dict(gramian=GRAMIAN, losses=np.ones(2)), "`losses` must have shape"),
        (dict(gramian=GRAMIAN, present=[True]), "`present` must have shape"),
    ],
)
def test_wrong_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recorder().weights(**arguments)


def test_number_of_tasks_must_be_static():
    step = tf.function(Recorder().weights)
    with pytest.raises(ValueError, match="number of tasks must be known"):
        step.get_concrete_function(tf.TensorSpec([None, None]))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_combine_works_block_by_block_without_absent_rows(jit_compile):
    blocks = [
        np.array([[1.0, -2.0], [np.nan, np.nan], [0.0, -1.0]], "float32"),
        np.arange(12.0).reshape(3, 2, 2).astype("float16"),
    ]
    vector, matrix = run(LargestEntry(), jit_compile, blocks, None, PRESENT)
    # The row of an absent task is 0 for the hook.
    np.testing.assert_array_equal(vector, [1.0, 0.0])
    np.testing.assert_array_equal(matrix, [[8.0, 9.0], [10.0, 11.0]])
    assert (vector.dtype, matrix.dtype) == (tf.float32, tf.float16)


def test_failed_combine_falls_back_to_the_mean_in_all_blocks():
    aggregator = LargestEntry()
    blocks = [np.array([[1.0], [5.0], [2.0]]), np.array([101.0, 5.0, 3.0])]
    first, second = aggregator.combine(blocks, present=PRESENT)
    np.testing.assert_array_equal(first, [1.5])
    np.testing.assert_array_equal(second, 52.0)
    assert aggregator.fallback_count.numpy() == 1


def test_non_finite_row_makes_all_blocks_nan():
    blocks = [np.array([[1.0], [5.0], [2.0]]), np.array([np.inf, 5.0, 3.0])]
    first, second = LargestEntry().combine(blocks)
    assert np.isnan(first).all() and np.isnan(second)


def test_combine_refuses_no_block():
    with pytest.raises(ValueError, match="`blocks`"):
        LargestEntry().combine([])


def test_jacobian_is_one_block():
    jacobian = np.array([[1.0, 4.0], [3.0, 2.0]])
    np.testing.assert_array_equal(LargestEntry()(jacobian), [3.0, 4.0])


@pytest.mark.parametrize(
    ("kind", "hook"),
    [
        (aggregators.LossWeighting, "_weights"),
        (aggregators.GramianWeighting, "_weights"),
        (aggregators.RowAggregator, "_combine"),
        (aggregators.RowTracking, "_track"),
    ],
)
def test_a_method_without_its_hook_cannot_be_made(kind, hook):
    with pytest.raises(TypeError, match=f"abstract method '?{hook}"):
        type("Unfinished", (kind,), {})()
