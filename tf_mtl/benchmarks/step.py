"""Time of one train step: methods x surfaces x tasks x vocabulary sizes."""

import dataclasses
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import keras
import tensorflow as tf

from tf_mtl import optimizers
from tf_mtl.benchmarks.timing import interleaved_medians
from tf_mtl.benchmarks.workload import Batch, Workload
from tf_mtl.files import write_json

PLAIN_KERAS = "plain Keras, Adam"

# (aggregator, surface) of the rows; the first one is what the others are held against.
METHODS = (
    ("ew", "parameters"),
    ("gradcraft", "parameters"),
    ("gradcraft", "representation"),
    ("pcgrad", "parameters"),
    ("pcgrad", "representation"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        num_tasks: int.
        vocabulary: int, rows of all tables.
        method: name of the aggregator and surface, or of the plain Keras model.
        milliseconds: median time of a step.
        ratio: that time over the time of equal weights, same tasks and vocabulary.
        compile_seconds: time of the first step.
    """

    num_tasks: int
    vocabulary: int
    method: str
    milliseconds: float
    ratio: float
    compile_seconds: float


def run(
    num_tasks: Sequence[int] = (2, 6, 14),
    vocabularies: Sequence[int] = (10**4, 10**6, 10**7),
    methods: Sequence[tuple[str, str]] = METHODS,
    batch_size: int = 2048,
    plain_keras: bool = True,
    rounds: int = 15,
    calls: int = 4,
    jit_compile: bool = True,
    out: TextIO = sys.stdout,
) -> list[Row]:
    """Measures the train function of `fit`, side by side for all methods.

    Args:
        num_tasks: numbers of tasks.
        vocabularies: rows of all embedding tables together.
        methods: pairs of aggregator and surface; the first is the reference.
        batch_size: int.
        plain_keras: bool. Whether to measure the plain Keras model as well.
        rounds: int, see `interleaved_medians`.
        calls: int, see `interleaved_medians`.
        jit_compile: bool. Whether our steps are compiled by XLA.
        out: where progress and lines are printed.

    Returns:
        list of `Row`.
    """
    print(f"Device: {device_name()}", file=out)
    rows = []
    for count in num_tasks:
        workloads = [Workload(count, size, batch_size) for size in vocabularies]
        group = _measure(
            workloads, methods, plain_keras, rounds, calls, jit_compile, out
        )
        print("\n".join(_line(row) for row in group), file=out, flush=True)
        rows += group
        keras.backend.clear_session()
    return rows


def device_name() -> str:
    """The device that TensorFlow chooses for a step: the first GPU, else the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU {platform.machine()}, {os.cpu_count()} cores"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU {details.get('device_name', gpus[0].name)}"


def summary(rows: Sequence[Row]) -> str:
    """How the time of each method depends on the vocabulary."""
    lines = ["Time at the largest vocabulary over time at the smallest:"]
    for count in sorted({row.num_tasks for row in rows}):
        for method in dict.fromkeys(row.method for row in rows):
            mine = [r for r in rows if (r.num_tasks, r.method) == (count, method)]
            mine.sort(key=lambda row: row.vocabulary)
            if len(mine) > 1:
                ratio = mine[-1].milliseconds / mine[0].milliseconds
                lines.append(f"  T={count:<3} {method:28} {ratio:6.2f}")
    return "\n".join(lines) if len(lines) > 1 else ""


def write(rows: Sequence[Row], path: str) -> None:
    """Writes rows and the machine as JSON."""
    result: dict[str, Any] = {
        "machine": {
            "device": device_name(),
            "processor": platform.machine(),
            "devices": [d.name for d in tf.config.list_logical_devices()],
            "tensorflow": tf.__version__,
            "keras": keras.version(),
        },
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_json(pathlib.Path(path), result)


def _measure(
    workloads: Sequence[Workload],
    methods: Sequence[tuple[str, str]],
    plain_keras: bool,
    rounds: int,
    calls: int,
    jit_compile: bool,
    out: TextIO,
) -> list[Row]:
    """All vocabularies and methods for one number of tasks, in turns."""
    steps: dict[tuple[int, str], Callable[[], None]] = {}
    first: dict[tuple[int, str], float] = {}

    def add(workload: Workload, model: keras.Model, name: str) -> None:
        key = (workload.vocabulary, name)
        print(f"  compiling {name}, V={workload.vocabulary:.0e} ...", file=out)
        steps[key], first[key] = _train_function(model, workload.batch())

    for workload in workloads:
        # One model for all methods: each train function keeps what it was traced with.
        model, optimizer = workload.model(), optimizers.LazyAdam(1e-3)
        for aggregator, surface in methods:
            model.compile(
                optimizer,
                aggregator=aggregator,
                surface=surface,
                jit_compile=jit_compile,
            )
            add(workload, model, _method_name(aggregator, surface))
        if plain_keras:
            add(workload, workload.plain_keras_model(), PLAIN_KERAS)
    medians = interleaved_medians(steps, rounds, calls)
    reference = _method_name(*methods[0])
    return [
        Row(
            workloads[0].num_tasks,
            vocabulary,
            name,
            round(milliseconds, 2),
            round(milliseconds / medians[vocabulary, reference], 3),
            round(first[vocabulary, name], 1),
        )
        for (vocabulary, name), milliseconds in medians.items()
    ]


def _method_name(aggregator: str, surface: str) -> str:
    return aggregator if aggregator == "ew" else f"{aggregator}, {surface}"


def _train_function(
    model: keras.Model, batch: Batch
) -> tuple[Callable[[], None], float]:
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    train_function = model.make_train_function(force=True) or model.train_function

    def step() -> None:
        tf.nest.map_structure(lambda log: log.numpy(), train_function(iterator))

    start = time.perf_counter()
    step()
    return step, time.perf_counter() - start


def _line(row: Row) -> str:
    return (
        f"T={row.num_tasks:<3} V={row.vocabulary:<9.0e} {row.method:28} "
        f"{row.milliseconds:9.1f} ms  x{row.ratio:<6.2f} "
        f"compiled in {row.compile_seconds:.0f} s"
    )
