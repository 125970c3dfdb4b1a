"""Latency of exported models, side by side."""

import dataclasses
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import TextIO

import tensorflow as tf

from tf_mtl import export
from tf_mtl.benchmarks.defaults import SERVED_MODELS
from tf_mtl.benchmarks.results import heading
from tf_mtl.benchmarks.timing import interleaved_times
from tf_mtl.benchmarks.workload import Batch, Workload


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        model: name of the architecture.
        parameters: int, trainable ones beside the embedding tables.
        batch_size: int, rows per call.
        milliseconds: median time of a call.
        ratio: that over the time of the first model, same batch size.
        p99_milliseconds: time that 99 of 100 calls do not exceed.
        p99_ratio: that over the time of the first model, same batch size.
    """

    model: str
    parameters: int
    batch_size: int
    milliseconds: float
    ratio: float
    p99_milliseconds: float
    p99_ratio: float


def run(
    workload: Workload,
    models: Sequence[str] = SERVED_MODELS,
    batch_sizes: Sequence[int] = (1, 512, 2048),
    rounds: int = 50,
    calls: int = 10,
    out: TextIO | None = None,
) -> list[Row]:
    """Exports models, loads them and times `serving_default` in turns.

    Args:
        workload: tasks and sizes of the models. Its batch size is not used.
        models: names of architectures; the first is the reference.
        batch_sizes: rows per call.
        rounds: int, see `interleaved_times`.
        calls: int, see `interleaved_times`.
        out: where lines are printed; None: standard output.

    Returns:
        list of `Row`.

    Raises:
        ValueError: if an architecture is unknown or cannot have these sizes.
    """
    built = {name: workload.model(name) for name in models}
    print(heading(workload.sizes), file=out)
    served = {name: served_function(model) for name, model in built.items()}
    sizes = {name: workload.parameters(model) for name, model in built.items()}
    rows = []
    for batch_size in batch_sizes:
        batch = dataclasses.replace(workload, batch_size=batch_size).batch()
        calls_by_name = {n: served_call(serve, batch) for n, serve in served.items()}
        times = interleaved_times(calls_by_name, rounds, calls)
        medians = {name: statistics.median(each) for name, each in times.items()}
        tails = {name: _p99(each) for name, each in times.items()}
        for name in models:
            row = Row(
                name,
                sizes[name],
                batch_size,
                round(medians[name], 4),
                round(medians[name] / medians[models[0]], 3),
                round(tails[name], 4),
                round(tails[name] / tails[models[0]], 3),
            )
            print(_line(row), file=out, flush=True)
            rows.append(row)
    return rows


def served_function(model: tf.Module) -> Callable[..., dict[str, tf.Tensor]]:
    """The function `serving_default` of a model, exported and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = tf.saved_model.load(export.save(model, folder))
    serve = loaded.signatures["serving_default"]
    # A signature does not keep alive the variables that it reads.
    serve.loaded = loaded
    return serve


def served_call(
    serve: Callable[..., dict[str, tf.Tensor]], batch: Batch
) -> Callable[[], None]:
    """A call of a served function that waits for its answer."""
    ids, _ = batch
    inputs = {name: tf.cast(values, tf.int64) for name, values in ids.items()}

    def call() -> None:
        for output in serve(**inputs).values():
            output.numpy()

    return call


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]


def _line(row: Row) -> str:
    return (
        f"B={row.batch_size:<5} {row.model:14} {row.milliseconds:9.3f} ms  "
        f"x{row.ratio:<6.3f} p99 {row.p99_milliseconds:9.3f} ms  x{row.p99_ratio:<6.3f}"
    ).rstrip()
