"""Step time and latency of architectures, next to Shared-Bottom of the same size."""

import dataclasses
import gc
from collections.abc import Callable, Sequence
from typing import TextIO

import keras

from tf_mtl import models, optimizers
from tf_mtl.benchmarks.results import heading
from tf_mtl.benchmarks.serving import served_call, served_function
from tf_mtl.benchmarks.step import train_function
from tf_mtl.benchmarks.timing import interleaved_medians
from tf_mtl.benchmarks.workload import Workload


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        model: name of the architecture.
        parameters: int, trainable ones beside the embedding tables.
        bottom_parameters: int, those of the Shared-Bottom model.
        step_milliseconds: time of a train step with equal weights, see
            `interleaved_medians`.
        step_ratio: that over the time of the Shared-Bottom model.
        latency_milliseconds: time of a call of the exported model, likewise.
        latency_ratio: that over the time of the Shared-Bottom model.
    """

    model: str
    parameters: int
    bottom_parameters: int
    step_milliseconds: float
    step_ratio: float
    latency_milliseconds: float
    latency_ratio: float


def run(
    workload: Workload,
    names: Sequence[str] | None = None,
    rounds: int = 15,
    calls: int = 4,
    out: TextIO | None = None,
) -> list[Row]:
    """Measures each architecture in turns with a Shared-Bottom model of its size.

    Args:
        workload: tasks, rows of a step and of a call, and sizes of the models.
        names: architectures. None: all.
        rounds: int, see `interleaved_medians`.
        calls: int, see `interleaved_medians`.
        out: where lines are printed; None: standard output.

    Returns:
        list of `Row`.

    Raises:
        ValueError: if an architecture is unknown or cannot have these sizes.
    """
    names = names or models.names()
    workload.check(names)
    print(heading(workload.sizes), file=out)
    rows = []
    for name in names:
        row = _measure(name, workload, rounds, calls)
        print(_line(row), file=out, flush=True)
        rows.append(row)
        # XLA keeps each compiled step mapped in memory, of which there is so much.
        keras.backend.clear_session()
        gc.collect()
    return rows


def _measure(name: str, workload: Workload, rounds: int, calls: int) -> Row:
    model = workload.model(name)
    parameters = workload.parameters(model)
    bottom = workload.shared_bottom(parameters)
    pair: dict[str, models.MultiTaskModel] = {"model": model, "bottom": bottom}
    steps: dict[str, Callable[[], None]] = {}
    answers: dict[str, Callable[[], None]] = {}
    for key, each in pair.items():
        each.compile(optimizers.LazyAdam(1e-3), "ew", jit_compile=True)
        steps[key], _ = train_function(each, workload.batch())
        answers[key] = served_call(served_function(each), workload.batch())
    step = interleaved_medians(steps, rounds, calls)
    latency = interleaved_medians(answers, rounds, calls)
    return Row(
        name,
        parameters,
        workload.parameters(bottom),
        round(step["model"], 3),
        round(step["model"] / step["bottom"], 3),
        round(latency["model"], 3),
        round(latency["model"] / latency["bottom"], 3),
    )


def _line(row: Row) -> str:
    return (
        f"{row.model:14} {row.parameters:>10,} parameters  "
        f"step {row.step_milliseconds:8.2f} ms x{row.step_ratio:<6.2f} "
        f"latency {row.latency_milliseconds:8.2f} ms x{row.latency_ratio:<6.2f}"
    )
