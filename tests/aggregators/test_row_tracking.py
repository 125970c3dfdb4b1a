import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import problem
from tf_mtl import aggregators
from tf_mtl.gradients import unique_ids

TASKS, ROWS, WIDTH = 3, 6, 2


class Momentum(aggregators.RowTracking):
    """Sums rows that remember half of their past."""

    tracked = ("momentum",)

    def _track(self, blocks, tracked, losses, present):
        new = [0.5 * t["momentum"] + b for t, b in zip(tracked, blocks, strict=True)]
        return [tf.reduce_sum(n, 0) for n in new], [{"momentum": n} for n in new]


def sparse_block(rng):
    """Rows of some ids, padded, and the same block as a whole table."""
    unique, _ = unique_ids(tf.constant(rng.choice([0, 2, 3, 5], 4)))
    unique = unique.numpy()
    rows = rng.normal(size=(TASKS, 4, WIDTH)).astype("float32")
    rows[:, 1:][:, unique[1:] == unique[:-1]] = 0.0
    table = np.zeros((TASKS, ROWS, WIDTH), "float32")
    for place, row in enumerate(unique):
        table[:, row] += rows[:, place]
    return rows, unique, table


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rows_of_looked_up_ids_match_a_dictionary(jit_compile):
    aggregator = Momentum()
    aggregator.build(TASKS)
    aggregator.build_rows([(ROWS, WIDTH), ()])
    step = tf.function(aggregator.combine, jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    memory, scalar = {}, np.zeros(TASKS)
    for i in range(5):
        present = np.array([True, i != 2, True])
        rows, ids, _ = sparse_block(rng)
        loss_rows = rng.normal(size=TASKS).astype("float32")
        table, single = step(
            [rows, loss_rows], present=present, ids=[tf.constant(ids), None]
        )
        expected = np.zeros((4, WIDTH))
        for place, row in enumerate(ids):
            old = memory.get(row, np.zeros((TASKS, WIDTH)))
            new = 0.5 * old + rows[:, place] * present[:, None]
            if place == 0 or ids[place] != ids[place - 1]:
                memory[row] = np.where(present[:, None], new, old)
                expected[place] = new.sum(0)
        first = np.r_[True, ids[1:] != ids[:-1]]
        np.testing.assert_allclose(table[first], expected[first], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(table[~first], 0.0)
        moved = 0.5 * scalar + loss_rows * present
        scalar = np.where(present, moved, scalar)
        np.testing.assert_allclose(single, moved.sum(), rtol=1e-5, atol=1e-6)


def test_nothing_is_remembered_of_an_update_that_is_skipped():
    aggregator = Momentum()
    aggregator([[1.0, 2.0], [3.0, 4.0]])
    before = [v.numpy() for v in aggregator.variables]
    aggregator([[1.0, np.nan], [3.0, 4.0]])
    aggregator.combine([tf.ones([2, 2])], usable=tf.constant(False))
    for variable, value in zip(aggregator.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("name", problem.SHARING)
def test_state_is_saved_with_the_model(name, tmp_path):
    model = problem.make_model(name)
    for layer in model._flatten_layers():
        # A loaded SNR draws its noise, which the problem turns off.
        layer.__dict__.pop("draw", None)
    # Eager: what is saved is not a matter of how the step runs, and it saves seconds.
    model.compile(problem.make_sgd(), aggregator=Momentum(), run_eagerly=True)
    with keras.saving.custom_object_scope({"Momentum": Momentum}):
        data = problem.make_dataset(3)
        model.fit(data, verbose=0)
        model.save(tmp_path / "model.keras")
        resumed = keras.models.load_model(tmp_path / "model.keras")
        problem.assert_same(
            resumed.aggregator.variables, model.aggregator.variables, rtol=0, atol=0
        )
        for each in (model, resumed):
            each.fit(data, verbose=0)
    problem.assert_same(resumed.trainable_variables, model.trainable_variables)


def test_other_variables_are_refused():
    aggregator = Momentum()
    aggregator.build(2)
    aggregator.build_rows([(3, 2)])
    with pytest.raises(ValueError, match="`shapes` must stay the same"):
        aggregator.build_rows([(4, 2)])
