"""The rule of AdaTask, without a model. See test_taskwise.py for train steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators import test_golden
from tests.optimizers import test_lazy_cost
from tf_mtl.gradients import unique_slices
from tf_mtl.optimizers import AdaTask

RULES = ("adam", "adagrad", "rmsprop")
every_rule = pytest.mark.parametrize("rule", RULES)
TASKS, ROWS, WIDTH = 3, 11, 2
BETAS = {"beta_1": 0.5, "beta_2": 0.75}


class Reference:
    """One task, in NumPy."""

    def __init__(self, rule, shape, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.rule, self.epsilon = rule, epsilon
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.m, self.v = np.zeros(shape), np.zeros(shape)

    def step(self, g, k):
        if self.rule == "adagrad":
            self.v += g**2
            return g / (np.sqrt(self.v) + self.epsilon)
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        if self.rule == "rmsprop":
            return g / (np.sqrt(self.v) + self.epsilon)
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        m, v = self.m / (1 - self.beta_1**k), self.v / (1 - self.beta_2**k)
        return m / (np.sqrt(v) + self.epsilon)


def make(shared, private=(), **kwargs):
    optimizer = AdaTask(0.1, **kwargs)
    tables = [variable for variable in shared if variable.name == "table"]
    optimizer.build_tasks(TASKS, shared, tables)
    optimizer.build([*shared, *private])
    return optimizer


def make_table():
    rows = np.random.default_rng(0).normal(size=(ROWS, WIDTH))
    return keras.Variable(rows.astype("float32"), name="table")


def random_rows(seed, ids=None):
    """Rows of all of a table, or of some ids `(TASKS, ids, WIDTH)`, and the ids."""
    rng = np.random.default_rng(seed)
    scales = np.array([1e-3, 1.0, 30.0])[:, None, None]
    if ids is None:
        return (scales * rng.normal(size=(TASKS, ROWS, WIDTH))).astype("float32")
    slices = [
        unique_slices(
            tf.IndexedSlices(
                tf.constant(scale * rng.normal(size=(len(ids), WIDTH)), tf.float32),
                tf.constant(ids),
                tf.constant([ROWS, WIDTH]),
            )
        )
        for scale in scales[:, 0, 0]
    ]
    return tf.stack([s.values for s in slices]), slices[0].indices


def as_gradient(direction, ids):
    return tf.IndexedSlices(direction, ids, tf.constant([ROWS, WIDTH]))


def test_first_step_has_the_length_of_the_learning_rate_for_each_task():
    shared = keras.Variable([0.0, 0.0, 0.0])
    optimizer = AdaTask(0.1)
    optimizer.build_tasks(2, [shared])
    # Plain Adam would follow the second task alone.
    rows = tf.constant([[1.0, 1.0, 0.0], [1000.0, -1000.0, 1000.0]])
    optimizer.apply(optimizer.row_aggregator.combine([rows]), [shared])
    np.testing.assert_allclose(shared.numpy(), [-0.2, 0.0, -0.1], atol=1e-6)


def test_sequence_matches_golden_value():
    [sequence] = [
        s for s in test_golden.GOLDEN["sequences"] if s["method"] == "adatask"
    ]
    params, initial = sequence["params"], sequence["initial"]
    shared, private = (
        keras.Variable(np.float32(initial[name]))
        for name in ("shared", "task_specific")
    )
    optimizer = AdaTask(
        params["lr"],
        beta_1=params["beta_1"],
        beta_2=params["beta_2"],
        epsilon=params["eps"],
    )
    optimizer.build_tasks(3, [shared])
    for step in sequence["steps"]:
        rows = tf.constant(step["J_shared"], tf.float32)
        gradient = tf.constant(step["grad_task_specific"], tf.float32)
        directions = optimizer.row_aggregator.combine([rows])
        optimizer.apply([*directions, gradient], [shared, private])
        for variable, name in ((shared, "shared"), (private, "task_specific")):
            expected = step[f"expected_{name}_after"]
            error = np.linalg.norm(variable.numpy() - expected)
            assert error <= sequence["tol32"] * np.linalg.norm(expected)


@every_rule
@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_match_numpy(rule, jit_compile):
    shared, private = make_table(), keras.Variable(np.ones((2, 2), "float32"))
    scalar = keras.Variable(1.0)
    optimizer = make([shared, scalar], [private], rule=rule, **BETAS)
    tasks = [
        [Reference(rule, v.shape, **BETAS) for v in (shared, scalar)] for _ in "123"
    ]
    alone = Reference(rule, private.shape, **BETAS)
    expected = [v.numpy().astype("float64") for v in (shared, scalar, private)]

    @tf.function(jit_compile=jit_compile)
    def step(blocks, gradient, present):
        directions = optimizer.row_aggregator.combine(blocks, present=present)
        optimizer.apply([*directions, gradient], [shared, scalar, private])

    for k in range(1, 6):
        # An absent task keeps its accumulators and does not move the variables.
        present = np.array([True, k != 3, k != 4])
        blocks = [random_rows(k), random_rows(k)[:, 0, 0]]
        gradient = random_rows(k)[0, :2]
        step([tf.constant(b) for b in blocks], tf.constant(gradient), present)
        for t in np.flatnonzero(present):
            for i, block in enumerate(blocks):
                expected[i] -= 0.1 * tasks[t][i].step(block[t].astype("float64"), k)
        expected[2] -= 0.1 * alone.step(gradient.astype("float64"), k)
    for variable, value in zip((shared, scalar, private), expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)
    assert step.experimental_get_tracing_count() == 1


@every_rule
def test_one_task_has_the_plain_rule(rule):
    shared, private = make_table(), make_table()
    optimizer = AdaTask(0.1, rule=rule, **BETAS)
    optimizer.build_tasks(1, [shared])
    for seed in range(3):
        gradient = random_rows(seed)[2]
        directions = optimizer.row_aggregator.combine([gradient[None]])
        optimizer.apply([*directions, tf.constant(gradient)], [shared, private])
    np.testing.assert_allclose(shared.numpy(), private.numpy(), rtol=1e-5)


def test_without_tasks_all_variables_have_the_plain_rule():
    tables = make_table(), make_table()
    optimizers = AdaTask(0.1), keras.optimizers.Adam(0.1, epsilon=1e-8)
    for optimizer, table in zip(optimizers, tables, strict=True):
        optimizer.apply([tf.constant(random_rows(0)[2])], [table])
    # Keras takes 1 - beta_2 ** k in float32.
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), atol=1e-5)


@every_rule
@pytest.mark.parametrize("tables", ["per_task", "shared"])
def test_table_equals_dense_variable_when_all_rows_are_looked_up(rule, tables):
    arguments = {"rule": rule, "tables": tables, "weight_decay": 0.01, **BETAS}
    variables = make_table(), make_table()
    looked_up, whole = (make([v], **arguments) for v in variables)
    for seed in range(5):
        rows, ids = random_rows(seed, [*range(ROWS), 4, 4])
        [direction] = looked_up.row_aggregator.combine([rows], ids=[ids])
        looked_up.apply([as_gradient(direction, ids)], [variables[0]])
        dense = tf.stack([tf.convert_to_tensor(as_gradient(row, ids)) for row in rows])
        whole.apply(whole.row_aggregator.combine([dense]), [variables[1]])
    values = [v.numpy() for v in variables]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tables", ["per_task", "shared"])
def test_rows_that_are_not_looked_up_stay(tables):
    table = make_table()
    optimizer = make([table], tables=tables, weight_decay=0.1)
    for ids in (range(ROWS), [7, 3, 7]):
        before = [v.numpy() for v in (table, *optimizer.variables)]
        rows, places = random_rows(0, [*ids])
        [direction] = optimizer.row_aggregator.combine([rows], ids=[places])
        optimizer.apply([as_gradient(direction, places)], [table])
    absent = np.setdiff1d(np.arange(ROWS), [3, 7])
    after = [v.numpy() for v in (table, *optimizer.variables)]
    found = 0
    for old, new in zip(before, after, strict=True):
        if new.ndim == 2:
            old, new = (x.reshape(-1, ROWS, WIDTH) for x in (old, new))
            np.testing.assert_array_equal(new[:, absent], old[:, absent])
            assert (new[:, [3, 7]] != old[:, [3, 7]]).all()
            found += 1
    assert found == 3


def test_shared_tables_take_the_sum_of_the_rows():
    tables = make_table(), make_table()
    optimizer, plain = make([tables[0]], tables="shared"), AdaTask(0.1)
    rows = random_rows(0)
    optimizer.apply(optimizer.row_aggregator.combine([tf.constant(rows)]), [tables[0]])
    plain.apply([tf.constant(rows.sum(0))], [tables[1]])
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), rtol=1e-6)
    assert max(v.shape.num_elements() for v in optimizer.variables) == ROWS * WIDTH


@every_rule
def test_gradients_of_any_size_give_finite_steps(rule):
    variables = make_table(), make_table()
    optimizer = make(variables[:1], variables[1:], rule=rule)
    for scale in (1e38, 0.0, 1e-38, 1e30, 1.0):
        rows = tf.fill([TASKS, ROWS, WIDTH], tf.constant(scale))
        directions = optimizer.row_aggregator.combine([rows])
        optimizer.apply([*directions, rows[0]], variables)
        for variable in (*variables, *optimizer.variables):
            assert np.isfinite(variable.numpy()).all()
    assert np.abs(variables[0].numpy()).max() < 100


@pytest.mark.parametrize("tables", ["per_task", "shared"])
def test_step_costs_the_looked_up_rows(tables):
    table = keras.Variable(np.zeros((test_lazy_cost.ROWS, WIDTH)), name="table")
    optimizer = make([table], tables=tables, weight_decay=0.1)

    def step(rows, ids):
        [direction] = optimizer.row_aggregator.combine([rows], ids=[ids])
        optimizer.apply([as_gradient(direction, ids)], [table])

    arguments = tf.ones((TASKS, 32, WIDTH)), tf.range(32)
    concrete = tf.function(step).get_concrete_function(*arguments)
    compiled = tf.function(step, jit_compile=True)
    for size in (test_lazy_cost.ROWS, TASKS * test_lazy_cost.ROWS):
        assert test_lazy_cost.table_sized_ops(concrete.graph, size) == []
        kinds = test_lazy_cost.table_sized_hlo(compiled, *arguments, size=size)
        assert kinds <= test_lazy_cost.IN_PLACE


def test_config_round_trip():
    optimizer = AdaTask(
        0.1, "rmsprop", 0.5, 0.75, 1e-6, "shared", weight_decay=0.1, name="mine"
    )
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["registered_name"] == "tf_mtl>AdaTask"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == optimizer.get_config()
    assert (copy.rule, copy.beta_1, copy.beta_2) == ("rmsprop", 0.5, 0.75)
    assert (copy.epsilon, copy.tables) == (1e-6, "shared")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("rule", "sgd", "`rule` must be one of"),
        ("beta_1", 1.0, "`beta_1` must be in"),
        ("beta_2", -0.1, "`beta_2` must be in"),
        ("epsilon", 0.0, "`epsilon` must be positive"),
        ("tables", "none", "`tables` must be 'per_task' or 'shared'"),
        ("clipnorm", 1.0, "`clipnorm` is not supported"),
        ("global_clipnorm", 1.0, "`global_clipnorm` is not supported"),
        ("use_ema", True, "`use_ema` is not supported"),
    ],
)
def test_bad_arguments_are_refused(argument, value, message):
    with pytest.raises(ValueError, match=message):
        AdaTask(**{argument: value})


def test_another_model_is_refused():
    first, second = make_table(), make_table()
    optimizer = make([first])
    optimizer.build_tasks(TASKS, [first])
    for num_tasks, variable in ((TASKS, second), (2, first)):
        with pytest.raises(ValueError, match="`optimizer` must be new"):
            optimizer.build_tasks(num_tasks, [variable])
    plain = AdaTask()
    plain.build([first])
    with pytest.raises(ValueError, match="`optimizer` must be new"):
        plain.build_tasks(TASKS, [first])
