"""Train steps of a model whose optimizer remembers the gradients of each task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import problem
from tests.optimizers.test_lazy_cost import table_sized_ops
from tf_mtl import features, models
from tf_mtl.optimizers import AdaTask

MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
}

both_kinds = pytest.mark.parametrize(
    ("name", "tables"), [("mmoe", "per_task"), ("multi_task", "shared")]
)


def make(name, mode="graph", aggregator="ew", seed=0, loss_scale=None, **kwargs):
    model = problem.make_model(name, seed=seed)
    optimizer = AdaTask(0.01, **kwargs)
    if loss_scale is not None:
        optimizer = loss_scale(optimizer)
    model.compile(optimizer, aggregator, **MODES[mode])
    return model


def train(model, steps=3, seed=0):
    model.fit(problem.make_dataset(steps, seed), verbose=0)
    return model


def state(model):
    variables = [
        *model.weights,
        *model.optimizer.variables,
        *model.aggregator.variables,
    ]
    return [v.numpy() for v in variables]


class Adagrad:
    """Slow reference for a whole model: one dense accumulator per task and variable."""

    def __init__(self, model, scales):
        self.scales = scales
        self.values = [v.numpy().astype("float64") for v in model.trainable_variables]
        self.sums = [np.zeros((len(scales), *v.shape)) for v in self.values]

    def step(self, rows, present):
        for value, total, block in zip(self.values, self.sums, rows, strict=True):
            for t in np.flatnonzero(present):
                gradient = self.scales[t] * block[t].astype("float64")
                total[t] += gradient**2
                value -= 0.01 * gradient / (np.sqrt(total[t]) + 1e-3)


# The reference of the test below routes nothing between towers.
UNROUTED = sorted(set(problem.ARCHITECTURES) - {"drgrad"})


# Adagrad leaves rows alone that were not looked up, so the dense reference is exact. A
# large epsilon lets the size of the gradients matter.
@pytest.mark.parametrize(
    ("name", "aggregator"),
    [*((name, "ew") for name in UNROUTED), ("mmoe", "fixed")],
)
def test_steps_match_gradients_taken_task_by_task(name, aggregator):
    weights = {"ew": [1.0, 1.0, 1.0], "fixed": [0.5, 1.0, 1.5]}[aggregator]
    model = make(
        name,
        "eager",
        problem.make_aggregator(aggregator),
        rule="adagrad",
        epsilon=1e-3,
    )
    reference = Adagrad(model, weights)
    for seed in range(3):
        inputs, labels = problem.make_batch(seed=seed)
        present = np.array([True, seed != 1, True])
        if not present[1]:
            labels["like"][:] = np.nan
        batch = problem.as_tensors((inputs, labels))
        reference.step(problem.gradients_by_task(model, *batch), present)
        model.train_on_batch(*batch)
    problem.assert_same(model.trainable_variables, reference.values, rtol=1e-4)


@both_kinds
def test_eager_graph_and_xla_agree(name, tables):
    eager, *others = (train(make(name, mode, tables=tables)) for mode in MODES)
    for other in others:
        # Adam divides by the size of the gradient: rounding of tiny ones shows.
        problem.assert_same(state(other), state(eager), rtol=1e-3, atol=1e-4)


def test_absent_task_keeps_its_slots():
    model = train(make("mmoe"))
    slots = model.optimizer.row_aggregator.variables[1:]
    before = [v.numpy() for v in slots]
    inputs, labels = problem.make_batch(seed=5)
    labels["like"][:] = np.nan
    model.train_on_batch(inputs, labels)
    for slot, old in zip(slots, before, strict=True):
        new, old = (np.split(value, 3) for value in (slot.numpy(), old))
        np.testing.assert_array_equal(new[1], old[1])
        for task in (0, 2):
            assert (new[task] != old[task]).any()


@pytest.mark.parametrize("mode", MODES)
def test_skipped_update_changes_nothing(mode):
    model = train(make("mmoe", mode))
    before = state(model)
    inputs, labels = problem.make_batch()
    inputs["price"][3] = np.inf
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(problem.ROWS)
    with pytest.warns(UserWarning, match="were skipped"):
        model.fit(data, verbose=0)
    problem.assert_same(state(model), before, rtol=0, atol=0)
    train(model)
    assert problem.is_different(state(model), before)


def test_loss_scale_does_not_change_the_update():
    plain = train(make("mmoe"))
    scaled = train(make("mmoe", loss_scale_factor=64.0))
    wrapped = train(make("mmoe", loss_scale=keras.optimizers.LossScaleOptimizer))
    for other in (scaled, wrapped):
        problem.assert_same(other.weights, plain.weights, rtol=1e-4)


@both_kinds
def test_saved_model_continues(name, tables, tmp_path):
    model = train(make(name, tables=tables))
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    restored = make(name, tables=tables, seed=1)
    restored.load_weights(tmp_path / "model.weights.h5")
    train(model, seed=1)
    for other in (loaded, restored):
        problem.assert_same(state(train(other, seed=1)), state(model))


def test_tables_may_share_their_slots():
    sizes = {}
    for tables in ("per_task", "shared"):
        model = make("mmoe", tables=tables)
        sizes[tables] = sum(int(np.prod(v.shape)) for v in model.optimizer.variables)
    rows = sum(int(np.prod(v.shape)) for v in model.looked_up_tables())
    assert sizes["per_task"] - sizes["shared"] == 2 * (3 - 1) * rows


def test_penalty_is_no_part_of_the_slots():
    runs = []
    for strength in (0.0, 0.5):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,), name="inputs")
        decay = keras.regularizers.L2(strength)
        hidden = keras.layers.Dense(3, kernel_regularizer=decay)(inputs)
        outputs = {
            task.name: keras.layers.Dense(1)(hidden) for task in problem.TASKS[:2]
        }
        model = models.MultiTask(keras.Model(inputs, outputs), problem.TASKS[:2])
        model.compile(AdaTask(0.01))
        kernel = model.trainable_variables[0]
        runs.append((model, kernel, kernel.numpy()))
        labels = {name: np.ones(8, "float32") for name in outputs}
        model.train_on_batch(np.ones((8, 4), "float32"), labels)
    (free, kernel, _), (held, held_kernel, old) = runs
    np.testing.assert_allclose(
        held_kernel.numpy(), kernel.numpy() - 0.01 * 2 * 0.5 * old, rtol=1e-5
    )
    problem.assert_same(held.optimizer.variables, free.optimizer.variables)


def test_step_has_no_operation_of_the_size_of_a_table():
    num_ids = 100_003
    ids = features.IntegerRange("id", num_values=num_ids - 2, embedding_dim=2)
    model = models.MMoE([ids], problem.TASKS)
    model.compile(AdaTask())
    _, labels = problem.make_batch()
    data = problem.as_tensors(({"id": np.arange(16, dtype="int32")}, labels))
    step = tf.function(model.train_step, autograph=False).get_concrete_function(data)
    for size in (num_ids, 3 * num_ids):
        assert table_sized_ops(step.graph, size) == []


def test_aggregator_that_sees_gradients_is_refused():
    model = problem.make_model("mmoe")
    with pytest.raises(ValueError, match="`aggregator` must be of kind 'loss'"):
        model.compile(AdaTask(), "gradcraft")


def test_representation_is_refused():
    model = problem.make_model("mmoe")
    with pytest.raises(ValueError, match="`surface` must be 'parameters'"):
        model.compile(AdaTask(), surface="representation")


def test_model_with_unknown_variables_is_refused():
    network = keras.Sequential([keras.layers.Dense(1)])
    model = models.MultiTask(network, problem.TASKS[:1])
    with pytest.raises(ValueError, match="must know the shared variables"):
        model.compile(AdaTask())
