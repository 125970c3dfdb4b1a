"""Time of one train step: methods x surfaces x tasks x vocabulary sizes."""

import dataclasses
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import keras
import tensorflow as tf

from tf_mtl import models as architectures
from tf_mtl import optimizers
from tf_mtl.benchmarks.defaults import METHODS
from tf_mtl.benchmarks.methods import Method, parse_methods
from tf_mtl.benchmarks.results import heading
from tf_mtl.benchmarks.timing import interleaved_medians
from tf_mtl.benchmarks.workload import Batch, Workload

PLAIN_KERAS = "plain Keras, Adam"

# Methods that are measured in turns. XLA keeps each compiled step mapped in memory, and
# a process may have so many maps only: fifty steps are too many.
_GROUP = 12

# Epochs of one step before the first turn: what methods do from some epoch on, they do
# by then.
_EPOCHS = 6

# Runs of a solver in one timed call: a single one is shorter than the call.
_SOLVES = 50


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        num_tasks: int.
        vocabulary: int, rows of all tables.
        model: name of the architecture.
        parameters: int, trainable ones beside the embedding tables.
        method: aggregator, surface and options, or the plain Keras model.
        milliseconds: time of a step, see `interleaved_medians`.
        ratio: that time over the time of the first model and method, same tasks and
            vocabulary.
        compile_seconds: time of the first step.
        compile_ratio: that time over the time of the first model and method.
        solver_milliseconds: time from the Gramian to the weights alone; `None` for
            methods of another kind.
    """

    num_tasks: int
    vocabulary: int
    model: str
    parameters: int
    method: str
    milliseconds: float
    ratio: float
    compile_seconds: float
    compile_ratio: float
    solver_milliseconds: float | None


def run(
    workloads: Sequence[Workload],
    methods: Sequence[str] = METHODS,
    models: Sequence[str] = ("mmoe",),
    plain_keras: bool = True,
    rounds: int = 15,
    calls: int = 5,
    jit_compile: bool = True,
    out: TextIO | None = None,
) -> list[Row]:
    """Measures the train function of `fit`, side by side for all methods.

    Args:
        workloads: one for each number of tasks and vocabulary, otherwise alike.
        methods: see `parse_methods`; the first is the reference.
        models: architectures, see `Workload.model`; the first is the reference.
        plain_keras: bool. Whether to measure the plain Keras model as well.
        rounds: int, see `interleaved_times`.
        calls: int, see `interleaved_medians`.
        jit_compile: bool. Whether our steps are compiled by XLA.
        out: where progress and lines are printed; None: standard output.

    Returns:
        list of `Row`.

    Raises:
        ValueError: if there are no workloads, a method or a model is unknown, or a
            model cannot have these sizes.
    """
    if not workloads:
        raise ValueError(
            "`workloads` must not be empty. Received: workloads=[]. Give a number of "
            "tasks and a vocabulary."
        )
    found = parse_methods(methods)
    for workload in workloads:
        workload.check(models)
    print(heading(workloads[0].sizes), file=out)
    rows = []
    for count in dict.fromkeys(workload.num_tasks for workload in workloads):
        same_tasks = [workload for workload in workloads if workload.num_tasks == count]
        for start in range(1, max(len(found), 2), _GROUP):
            # The reference takes part in every group, and is shown once.
            group = _measure(
                same_tasks,
                [found[0], *found[start : start + _GROUP]],
                models,
                plain_keras and start == 1,
                rounds,
                calls,
                jit_compile,
                out,
            )
            if start > 1:
                group = [row for row in group if row.method != found[0].label]
            print("\n".join(_line(row) for row in group), file=out, flush=True)
            rows += group
            keras.backend.clear_session()
            gc.collect()
    return rows


def summary(rows: Sequence[Row]) -> str:
    """How the time of each method depends on the vocabulary."""
    lines = ["Time at the largest vocabulary over time at the smallest:"]
    for count in sorted({row.num_tasks for row in rows}):
        for name in dict.fromkeys(step_label(row.model, row.method) for row in rows):
            mine = [
                row
                for row in rows
                if (row.num_tasks, step_label(row.model, row.method)) == (count, name)
            ]
            mine.sort(key=lambda row: row.vocabulary)
            if len(mine) > 1:
                ratio = mine[-1].milliseconds / mine[0].milliseconds
                lines.append(f"  T={count:<3} {name:28} {ratio:6.2f}")
    return "\n".join(lines) if len(lines) > 1 else ""


def _measure(
    workloads: Sequence[Workload],
    methods: Sequence[Method],
    models: Sequence[str],
    plain_keras: bool,
    rounds: int,
    calls: int,
    jit_compile: bool,
    out: TextIO | None,
) -> list[Row]:
    """All vocabularies, models and methods for one number of tasks, in turns."""
    # By vocabulary, model and method.
    steps: dict[tuple[int, str, str], Callable[[], None]] = {}
    first: dict[tuple[int, str, str], float] = {}
    sizes: dict[tuple[int, str, str], int] = {}

    def add(workload: Workload, model: keras.Model, name: str, method: str) -> None:
        key = (workload.vocabulary, name, method)
        print(
            f"  compiling {step_label(name, method)}, V={workload.vocabulary:.0e} ...",
            file=out,
        )
        steps[key], first[key] = train_function(model, workload.batch())
        if isinstance(model, architectures.MultiTaskModel):
            for _ in range(_EPOCHS):
                model.aggregator.end_epoch()
                steps[key]()
        sizes[key] = workload.parameters(model)

    for workload in workloads:
        for name in models:
            # One model for all methods: each train function keeps what it was traced
            # with.
            model, optimizer = workload.model(name), optimizers.LazyAdam(1e-3)
            for method in methods:
                model.compile(
                    optimizer,
                    aggregator=method.make(),
                    surface=method.surface,
                    jit_compile=jit_compile,
                )
                add(workload, model, name, method.label)
        if plain_keras:
            add(workload, workload.plain_keras_model(), models[0], PLAIN_KERAS)
    count = workloads[0].num_tasks
    medians = interleaved_medians(steps, rounds, calls)
    solvers = _solver_times([m for m in methods if m.kind == "gramian"], count, rounds)
    reference = (models[0], methods[0].label)
    return [
        Row(
            count,
            vocabulary,
            model,
            sizes[vocabulary, model, method],
            method,
            round(milliseconds, 2),
            round(milliseconds / medians[vocabulary, *reference], 3),
            round(first[vocabulary, model, method], 1),
            round(first[vocabulary, model, method] / first[vocabulary, *reference], 2),
            solvers.get(method),
        )
        for (vocabulary, model, method), milliseconds in medians.items()
    ]


def step_label(model: str, method: str) -> str:
    """What tables call the step of a model by a method.

    Args:
        model: architecture, see `Workload.model`.
        method: label of the method.

    Returns:
        str, without the default architecture.
    """
    return method if model == "mmoe" else f"{model}, {method}"


def _solver_times(
    methods: Sequence[Method], num_tasks: int, rounds: int
) -> dict[str, float]:
    """Milliseconds from the Gramian to the weights, compiled by XLA, by label."""
    rows = tf.random.stateless_normal([num_tasks, 4 * num_tasks], (0, 1))
    gramian = tf.matmul(rows, rows, transpose_b=True)

    def solver(method: Method) -> Callable[[], None]:
        aggregator: Any = method.make()
        aggregator.build(num_tasks)

        @tf.function(jit_compile=True)
        def solve() -> tf.Tensor:
            def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                # Another Gramian each time, so that no work moves out of the loop.
                scale = 1.0 + tf.cast(i, tf.float32) / _SOLVES
                weights = aggregator.weights(scale * gramian, tf.ones([num_tasks]))
                return i + 1, total + weights

            return tf.while_loop(
                lambda i, _: i < _SOLVES, body, (0, tf.zeros([num_tasks]))
            )[1]

        return lambda: solve().numpy()

    medians = interleaved_medians({m.label: solver(m) for m in methods}, rounds, 1)
    return {label: round(time / _SOLVES, 3) for label, time in medians.items()}


def train_function(
    model: keras.Model, batch: Batch
) -> tuple[Callable[[], None], float]:
    """The train function of `fit` on one batch, over and over.

    Args:
        model: compiled.
        batch: inputs and labels.

    Returns:
        A function that blocks until its step is done, and the seconds of the first
        step, which compiles it.
    """
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    train_function = model.make_train_function(force=True) or model.train_function

    def step() -> None:
        tf.nest.map_structure(lambda log: log.numpy(), train_function(iterator))

    start = time.perf_counter()
    step()
    return step, time.perf_counter() - start


def _line(row: Row) -> str:
    name = step_label(row.model, row.method)
    line = (
        f"T={row.num_tasks:<3} V={row.vocabulary:<9.0e} {name:28} "
        f"{row.milliseconds:9.1f} ms  x{row.ratio:<6.2f} "
        f"compiled in {row.compile_seconds:5.1f} s  x{row.compile_ratio:<5.1f}"
    )
    if row.solver_milliseconds is None:
        return line.rstrip()
    return f"{line} solver {row.solver_milliseconds:.2f} ms"
