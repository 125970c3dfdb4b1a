"""What every registered aggregator promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tf_mtl import aggregators

TASKS = range(5)

# Every registered method as it comes, and an option that adds state.
VARIANTS = [(name, {}) for name in aggregators.names()]
VARIANTS += [("gradcraft", {"norm_ema": 0.9}), ("stch", {"form": "log_nadir"})]
VARIANTS += [("dbmtl", {"beta": 0.0}), ("famo", {"second_pass_every": None})]

# Random streams differ between eager mode and XLA: where numbers are compared, the
# methods that draw are told what to draw.
REPRODUCIBLE = {
    name: {"order": "natural"} for name in ("gradvac", "pcgrad", "pcgrad_plus")
}
REPRODUCIBLE |= {name: {"seed": 0} for name in ("graddrop", "igb_v2", "rgw", "rlw")}
# The method that draws, for methods without such an option.
DRAWS = {"igb_v2": "_normals", "rgw": "_normals", "rlw": "_normals"}

# T = 1, with a loss of 0.7, gives the plain gradient times this, or a function of its
# norm.
SINGLE_TASK_FACTOR = {
    # CAGrad: (1 + c) / (1 + c^2).
    "cagrad": 1.4 / 1.16,
    "dbmtl": 0.1 / 0.7,
    "dbmtl-beta=0.0": 1 / 0.7,
    # At most of norm 1.
    "fairgrad": lambda norm: min(norm ** (-4 / 3), 1 / norm),
    "fixed": 0.5,
    "igb_v1": 1 / 0.7,
    "igb_v2": 1 / 0.7,
    "moco": 0.5,
    "nash_mtl": lambda norm: 1 / norm,
    "stch-form=log_nadir": 1 / 0.7,
    "uw": 0.5,
}

# Methods that treat the tasks by their place: the natural order of PCGrad and its kin
# visits the first task first, MetaBalance has a target, and Single a task. See
# test_pcgrad.py for a given order that is permuted along.
BY_PLACE = {"gradvac", "metabalance", "pcgrad", "pcgrad_plus", "single"}


# Largest share of steps on hostile Jacobians without a solution, which then take the
# mean and count it. FairGrad's equation has weights up to 20 decades apart where the
# norms are; where they nearly cancel as well, float64 leaves no digits (8 of 300).
FALL_BACK = {"fairgrad": 0.04}


class Method:
    """Makes fresh aggregators of one variant."""

    def __init__(self, name, options):
        self.name = name
        self.options = options

    def __repr__(self):
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    def make(self, tasks):
        """An aggregator for tasks with these indices in a larger set of tasks."""
        required = {"fixed": {"weights": [0.5 + task for task in tasks]}}
        options = required.get(self.name, {}) | REPRODUCIBLE.get(self.name, {})
        return aggregators.get(self.name, **(options | self.options))

    @property
    def draws(self):
        """Whether `make_told` is another than `make`."""
        return self.name in DRAWS or self.name == "graddrop"

    def make_told(self, tasks):
        """As `make`, but told what to draw for each task."""
        aggregator = self.make(tasks)
        if self.name in DRAWS:
            draws = tf.constant([0.3 * task for task in tasks], tf.float64)
            setattr(aggregator, DRAWS[self.name], lambda num_tasks: draws)
        if self.name == "graddrop":
            draws = tf.linspace(0.1, 0.9, 8)
            aggregator._uniforms = lambda block: tf.cast(draws, block.dtype)
        return aggregator


METHODS = [Method(*variant) for variant in VARIANTS]


class Step:
    """A compiled step of an aggregator for five tasks, which tests share.

    Each test begins by `reset`.
    """

    def __init__(self, aggregator, jit_compile):
        self.aggregator = aggregator
        build(aggregator, np.zeros((5, 8)))
        self._start = state_of(aggregator)
        self.function = compiled(aggregator, jit_compile)

    def reset(self, state=None):
        """Puts the state back to a fresh one, or to `state`."""
        start = self._start if state is None else state
        for variable, value in zip(self.aggregator.variables, start, strict=True):
            variable.assign(value)

    def __call__(self, jacobian, losses, present=(True,) * 5):
        arguments = (jacobian, losses, np.array(present))
        return self.function(*(tf.constant(argument) for argument in arguments))


# Of the module, so that all tests of a method follow each other.
@pytest.fixture(scope="module", params=METHODS, ids=repr)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def graph_step(method):
    return Step(method.make(TASKS), jit_compile=False)


@pytest.fixture(scope="module")
def xla_step(method):
    return Step(method.make(TASKS), jit_compile=True)


@pytest.fixture(scope="module")
def told_steps(method, graph_step, xla_step):
    """As both, but told what to draw."""
    if not method.draws:
        return graph_step, xla_step
    return tuple(
        Step(method.make_told(TASKS), jit_compile) for jit_compile in (False, True)
    )


@pytest.fixture
def jacobian():
    """Five conflicting rows of unlike norms, float32 `(5, 8)`."""
    rows = np.random.default_rng(5).normal(size=(5, 8)) - 0.3 * np.eye(5, 8)
    norms = np.array([1.0, 30.0, 0.1, 2.0, 5.0])
    return (rows * norms[:, None]).astype("float32")


@pytest.fixture
def losses():
    return np.array([0.7, 0.1, 2.0, 0.4, 1.1], "float32")


def state_of(aggregator):
    return [variable.numpy() for variable in aggregator.variables]


def build(aggregator, jacobian):
    aggregator.build(len(jacobian))
    if aggregator.kind == "rows":
        aggregator.build_rows([jacobian.shape[1:]])


def advance(method, aggregator, jacobian, losses, order=(0, 1, 2, 3, 4)):
    """Two epochs of two steps, so that what changes with time is at work."""
    order = list(order)
    for epoch in range(2):
        for step in (1.0, 2.0):
            factors = step + epoch * np.arange(len(losses))
            aggregator((jacobian / step)[order], (losses / factors)[order])
            if aggregator.observes_update:
                aggregator.observe((losses / (1.0 + factors))[order])
        aggregator.end_epoch()


def compiled(aggregator, jit_compile=True):
    @tf.function(jit_compile=jit_compile)
    def step(jacobian, losses, present):
        return aggregator(jacobian, losses, present)

    return step


def test_eager_graph_and_xla_agree(method, told_steps, jacobian, losses):
    aggregator = method.make_told(TASKS)
    advance(method, aggregator, jacobian, losses)
    advanced = state_of(aggregator)
    present = tf.constant([True, True, False, True, True])
    aggregator(jacobian, losses)
    direction = aggregator(jacobian[::-1], losses, present)
    scale = np.linalg.norm(jacobian)
    for step in told_steps:
        step.reset(advanced)
        step(jacobian, losses)
        actual = step(jacobian[::-1], losses, present)
        np.testing.assert_allclose(actual, direction, atol=1e-6 * scale)
        # Inner products are float32.
        for actual, expected in zip(
            state_of(step.aggregator), state_of(aggregator), strict=True
        ):
            largest = np.abs(expected).max()
            np.testing.assert_allclose(actual, expected, atol=1e-6 * largest)


def test_second_step_does_not_retrace(xla_step, jacobian, losses):
    xla_step.reset()
    xla_step(jacobian, losses)
    xla_step(-jacobian, losses, [False] * 5)
    assert xla_step.function.experimental_get_tracing_count() == 1


def graph_nodes(step, jacobian, losses):
    """Nodes of the graph of a step, and of each function that it calls."""
    arguments = (jacobian, losses, np.full(5, True))
    graph = step.function.get_concrete_function(
        *(tf.constant(argument) for argument in arguments)
    ).graph.as_graph_def()
    return [graph.node, *(function.node_def for function in graph.library.function)]


def test_graph_has_no_host_callback(graph_step, jacobian, losses):
    nodes = sum(map(list, graph_nodes(graph_step, jacobian, losses)), [])
    assert not [n.name for n in nodes if "PyFunc" in n.op or n.op == "NumpyFunction"]


def test_no_step_is_compiled_anew(graph_step, jacobian, losses):
    # XLA compiles a slice for each place that it is taken at: `x[place]` with a place
    # that is computed would compile in every step. `tf.gather` does not.
    for nodes in graph_nodes(graph_step, jacobian, losses):
        ops = {node.name: node.op for node in nodes}
        for node in nodes:
            if node.op == "StridedSlice":
                place = node.input[1].split(":")[0]
                assert ops[place] == "Const", node.name


def test_single_task_gets_its_plain_gradient(method, jacobian, losses):
    aggregator = method.make(range(1))
    direction = aggregator(jacobian[:1], losses[:1])
    factor = SINGLE_TASK_FACTOR.get(repr(method), 1.0)
    if callable(factor):
        factor = factor(np.linalg.norm(jacobian[0]))
    np.testing.assert_allclose(direction, factor * jacobian[0], rtol=1e-6)


def test_absent_tasks_are_left_out(method, jacobian, losses):
    present = np.array([True, False, True, True, False])
    known = np.flatnonzero(present)
    with_absent, without = method.make_told(TASKS), method.make_told(known)
    for rows in (jacobian, jacobian[::-1]):
        hostile = np.where(present[:, None], rows, np.nan).astype("float32")
        hostile_losses = np.where(present, losses, np.inf).astype("float32")
        np.testing.assert_allclose(
            with_absent(hostile, hostile_losses, present),
            without(rows[known], losses[known]),
            rtol=1e-5,
            atol=1e-6 * np.linalg.norm(rows),
        )


def test_weights_of_absent_tasks_are_zero(method, jacobian, losses):
    aggregator = method.make(TASKS)
    present = np.array([True, False, True, True, False])
    if aggregator.kind == "loss":
        weights = aggregator.weights(losses, present)
    elif aggregator.kind == "gramian":
        weights = aggregator.weights(jacobian @ jacobian.T, losses, present)
    else:
        pytest.skip("a RowAggregator has no weights")
    assert np.all(weights.numpy()[~present] == 0.0)
    assert np.any(weights.numpy()[present] != 0.0)


def test_no_task_present_gives_zero(method, jacobian, losses):
    aggregator = method.make(TASKS)
    direction = aggregator(jacobian, losses, np.zeros(5, bool))
    np.testing.assert_array_equal(direction, np.zeros(8))


def test_non_finite_input_gives_nan_and_keeps_the_state(
    graph_step, xla_step, jacobian, losses
):
    broken = jacobian.copy()
    broken[2] = np.nan
    broken_losses = np.where([0, 0, 1, 0, 0], np.nan, losses).astype("float32")
    for step in (graph_step, xla_step):
        step.reset()
        step(jacobian, losses)
        before = state_of(step.aggregator)
        assert np.all(np.isnan(step(broken, broken_losses)))
        for actual, expected in zip(state_of(step.aggregator), before, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "method",
    [m for m in METHODS if m.name not in BY_PLACE],
    ids=repr,
    scope="module",
)
def test_direction_does_not_depend_on_the_order_of_tasks(method, jacobian, losses):
    order = [3, 0, 4, 1, 2]
    plain, permuted = method.make_told(TASKS), method.make_told(order)
    advance(method, plain, jacobian, losses)
    advance(method, permuted, jacobian, losses, order)
    for rows in (jacobian, 2 * jacobian[:, ::-1]):
        np.testing.assert_allclose(
            permuted(rows[order], losses[order]),
            plain(rows, losses),
            atol=1e-6 * np.linalg.norm(rows),
        )


def test_config_round_trip(method):
    aggregator = method.make(TASKS)
    config = keras.saving.serialize_keras_object(aggregator)
    restored = aggregators.get(config)
    assert type(restored) is type(aggregator)
    assert restored.get_config() == aggregator.get_config()


def test_restored_state_gives_the_same_next_step(method, jacobian, losses):
    aggregator = method.make(TASKS)
    advance(method, aggregator, jacobian, losses)
    aggregator(jacobian, losses)
    resumed = aggregators.get(keras.saving.serialize_keras_object(aggregator))
    build(resumed, jacobian)
    for variable, value in zip(resumed.variables, state_of(aggregator), strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(
        resumed(jacobian[::-1], losses), aggregator(jacobian[::-1], losses)
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_direction_has_the_dtype_of_the_jacobian(method, losses, dtype):
    jacobian = tf.cast(np.eye(5, 8), dtype)
    assert method.make(TASKS)(jacobian, losses).dtype == dtype


@st.composite
def hostile_problems(draw):
    """Three steps with up to 14 present tasks, the last of them absent in the second.

    The Jacobians have any rank and scale, with zero, repeated and opposite rows, and
    losses are decades apart or equal.

    Returns:
        `jacobian`, float32 `(14, 8)`, `losses`, float32 `(3, 14)`, and `present`, bool
        `(3, 14)`.
    """
    num_tasks = draw(st.integers(1, 14))
    rank = draw(st.integers(1, num_tasks))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    rows = random.normal(size=(14, rank)) @ random.normal(size=(rank, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    decades = draw(st.sampled_from([0, 3, 10]))
    rows *= 10.0 ** random.uniform(-decades, decades, size=(14, 1))
    for row in range(1, 14):
        multiple = draw(st.sampled_from([None, None, 0.0, 1.0, -1.0]))
        if multiple is not None:
            rows[row] = multiple * rows[row - 1]
    losses = 10.0 ** random.uniform(-8, 8, size=(3, 14))
    if draw(st.booleans()):
        losses[:, ::2] = losses[0, 0]
    present = np.tile(np.arange(14) < num_tasks, (3, 1))
    present[1, num_tasks - 1] = num_tasks == 1
    return rows.astype("float32"), losses.astype("float32"), present


def test_steps_are_finite_on_hostile_jacobians(method):
    aggregator = method.make(range(14))
    build(aggregator, np.zeros((14, 8)))
    start = state_of(aggregator)
    step = compiled(aggregator, jit_compile=False)
    observe = tf.function(aggregator.observe)
    num_steps, num_fallbacks = 0, 0

    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        # A smaller counterexample is not worth minutes.
        phases=[Phase.explicit, Phase.generate],
    )
    @given(problem=hostile_problems())
    def check(problem):
        nonlocal num_steps, num_fallbacks
        for variable, value in zip(aggregator.variables, start, strict=True):
            variable.assign(value)
        jacobian, *batches = problem
        for losses, present in zip(*batches, strict=True):
            direction = step(jacobian, losses, present)
            assert np.all(np.isfinite(direction))
            if aggregator.observes_update:
                observe(losses[::-1], present)
            aggregator.end_epoch()
        assert all(np.all(np.isfinite(value)) for value in state_of(aggregator))
        num_steps += 3
        num_fallbacks += int(aggregator.fallbacks())

    check()
    assert num_steps >= 300
    assert num_fallbacks <= FALL_BACK.get(method.name, 0.0) * num_steps
