"""Runs train steps that `tf-mtl bench hlo` exported: checks results, measures times.

Needs JAX for the device in question and what JAX needs (jaxlib, NumPy), and neither
TensorFlow nor tf_mtl. Copy the folder to the machine, this file is in it:

  python run_hlo.py DIR --platform=cuda --output=times.json

A step must give what TensorFlow gave where it was exported. Then the steps of the same
sizes take turns; each turn is a few steps of a training, variables updated in place.
Exit code: 0, or 1 if a configuration failed or gave other results.

XLA may multiply float32 matrices in TensorFloat-32 on a GPU, with relative errors of
about 1e-3; then a wider --tolerance is in order.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

REFERENCE = "ew"


@dataclasses.dataclass
class Row:
    """What is known of one configuration.

    Attributes:
        method: aggregator, or `aggregator:surface`.
        sizes: numbers of tasks, of examples per batch, of rows of all tables.
        error: largest relative error of a result, with `worst`, its name.
        is_right: whether no error is above the tolerance.
        compile_seconds: time to compile.
        milliseconds: median time of a step.
        ratio: that over the time of equal weights at the same sizes.
        failure: why there is no time, else empty.
    """

    method: str
    sizes: tuple[int, int, int]
    error: float | None = None
    worst: str = ""
    is_right: bool = False
    compile_seconds: float | None = None
    milliseconds: float | None = None
    ratio: float | None = None
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Exported:
    """The files of a configuration.

    Attributes:
        config: dict, `config.json`.
        code: bytes, the StableHLO module.
        arguments: list of arrays, in the order of the module.
        results: list of arrays, as TensorFlow computed them.
    """

    config: dict[str, Any]
    code: bytes
    arguments: list[np.ndarray]
    results: list[np.ndarray]


def load(folder: pathlib.Path) -> Exported:
    """Reads the folder of a configuration.

    Raises:
        ValueError: if the arrays are not those that `config.json` describes.
    """
    config = json.loads((folder / "config.json").read_text())
    arrays = {}
    for name in ("arguments", "results"):
        with np.load(folder / f"{name}.npz") as file:
            arrays[name] = [file[str(i)] for i in range(len(file))]
        found = [[array.dtype.name, list(array.shape)] for array in arrays[name]]
        if found != [described[1:] for described in config[name]]:
            raise ValueError(
                f"`{name}.npz` does not hold the arrays of `config.json`. Received: "
                f"{str(folder)!r}. Export it again."
            )
    return Exported(config, (folder / "module.stablehlo").read_bytes(), **arrays)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of what is expected.

    Args:
        found: array of any shape.
        expected: array; integers must be met exactly.

    Returns:
        float; infinite for another shape or type, other integers, or NaN.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(found, expected) else float("inf")
    wide = expected.astype(np.float64)
    difference = float(np.linalg.norm((found - wide).ravel()))
    if difference == 0.0:
        return 0.0
    error = difference / max(float(np.linalg.norm(wide.ravel())), 1e-30)
    return error if np.isfinite(error) else float("inf")


class Step:
    """A compiled train step with its arguments on the device.

    Args:
        exported: the files.
        device: JAX device.
    """

    def __init__(self, exported: Exported, device: Any) -> None:
        import jax
        from jaxlib import xla_client

        self._updates = {int(i): arg for i, arg in exported.config["updates"].items()}
        self._executable = device.client.compile_and_load(
            exported.code,
            xla_client.DeviceList((device,)),
            xla_client.CompileOptions(),
        )
        self._arguments = [jax.device_put(a, device) for a in exported.arguments]

    def __call__(self) -> list[Any]:
        """Enqueues a step, which goes on where the last one ended.

        Returns:
            list of arrays on the device: the results. The next call takes away those
            that it updates.
        """
        results = self._executable.execute(self._arguments)
        for result, argument in self._updates.items():
            self._arguments[argument] = results[result]
        return results


def check(step: Step, exported: Exported, tolerance: float | None, row: Row) -> None:
    """Runs the first step and notes in `row` how far its results are off."""
    results = [np.asarray(result) for result in step()]
    names = [described[0] for described in exported.config["results"]]
    pairs = zip(results, exported.results, strict=True)
    errors = [relative_error(found, expected) for found, expected in pairs]
    row.error, row.worst = max(zip(errors, names, strict=True))
    allowed = exported.config["tolerance"] if tolerance is None else tolerance
    row.is_right = row.error <= allowed


def measure(
    steps: Mapping[str, Callable[[], Any]],
    rounds: int,
    calls: int,
    wait: Callable[[Any], Any],
    deadline: float = float("inf"),
) -> tuple[dict[str, float], dict[str, str]]:
    """Times steps in turns. One that raises is left out from there on.

    Args:
        steps: functions by name that enqueue a step.
        rounds: int. How often each gets its turn.
        calls: int. Steps per turn; one more, untimed, goes before them.
        wait: blocks until a result is there.
        deadline: value of `time.monotonic` after which no new round begins.

    Returns:
        Median milliseconds per step by name, and error messages by name.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        if time.monotonic() > deadline:
            break
        for name in [name for name in steps if name not in failures]:
            try:
                wait(steps[name]())
                start = time.perf_counter()
                for _ in range(calls):
                    result = steps[name]()
                wait(result)
                times[name].append((time.perf_counter() - start) / calls * 1e3)
            except Exception as error:  # Whatever a device says, the others go on.
                failures[name] = _message(error)
    medians = {
        name: statistics.median(values)
        for name, values in times.items()
        if values and name not in failures
    }
    return medians, failures


def run_group(
    folders: Sequence[pathlib.Path],
    device: Any,
    arguments: argparse.Namespace,
    deadline: float,
) -> list[Row]:
    """Checks and times configurations of the same sizes."""
    import jax

    rows: dict[str, Row] = {}
    steps: dict[str, Step] = {}
    for folder in folders:
        row = rows[folder.name] = describe(folder)
        try:
            if time.monotonic() > deadline:
                raise TimeoutError("--time_limit is over")
            exported = load(folder)
            start = time.perf_counter()
            step = Step(exported, device)
            row.compile_seconds = round(time.perf_counter() - start, 1)
            check(step, exported, arguments.tolerance, row)
            steps[folder.name] = step
        except Exception as error:  # As above.
            row.failure = _message(error)
    medians, failures = measure(
        steps, arguments.rounds, arguments.calls, jax.block_until_ready, deadline
    )
    for name in steps:
        rows[name].milliseconds = medians.get(name)
        rows[name].failure = failures.get(name, "" if name in medians else "not timed")
    add_ratios(list(rows.values()))
    return list(rows.values())


def describe(folder: pathlib.Path) -> Row:
    """The row of a configuration before it has run."""
    config = json.loads((folder / "config.json").read_text())
    return Row(
        config["label"],
        (config["num_tasks"], config["batch_size"], config["vocabulary"]),
    )


def add_ratios(rows: Sequence[Row]) -> None:
    """Holds times against equal weights of the same sizes, where those have one."""
    reference = {row.sizes: row.milliseconds for row in rows if row.method == REFERENCE}
    for row in rows:
        base = reference.get(row.sizes)
        if base and row.milliseconds:
            row.ratio = row.milliseconds / base


def table(rows: Sequence[Row]) -> str:
    """One line per row, under a heading."""
    lines = [
        f"{'T':>3} {'batch':>6} {'rows':>9}  {'method':26} {'ms':>9} {'ratio':>7} "
        f"{'error':>8}"
    ]
    for row in rows:
        tasks, batch, vocabulary = row.sizes
        milliseconds = "" if row.milliseconds is None else f"{row.milliseconds:.3f}"
        ratio = "" if row.ratio is None else f"x{row.ratio:.2f}"
        error = "" if row.error is None else f"{row.error:.1e}"
        note = row.failure
        if row.error is not None and not row.is_right:
            note = f"WRONG: {row.worst} {note}".rstrip()
        line = (
            f"{tasks:3} {batch:6} {vocabulary:9}  {row.method:26} {milliseconds:>9} "
            f"{ratio:>7} {error:>8}  {note}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="what `bench hlo` wrote")
    parser.add_argument("--platform", help="cuda or cpu; default: what JAX prefers")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each step")
    parser.add_argument("--calls", type=int, default=10, help="steps per turn")
    parser.add_argument("--tolerance", type=float, help="instead of the exported one")
    parser.add_argument(
        "--time_limit", type=float, default=float("inf"), help="seconds for all"
    )
    parser.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all configurations of a folder, see the module."""
    arguments = _parse(argv)
    deadline = time.monotonic() + arguments.time_limit
    groups: dict[tuple[int, int, int], list[pathlib.Path]] = {}
    for config in sorted(arguments.folder.glob("[!.]*/config.json")):
        groups.setdefault(describe(config.parent).sizes, []).append(config.parent)
    if not groups:
        print(f"No exported steps in {str(arguments.folder)!r}.", file=sys.stderr)
        return 1

    try:
        import jax

        device = jax.devices(arguments.platform)[0]
    except (ImportError, RuntimeError) as error:
        print(f"`platform` needs JAX with it. Received: {error}.", file=sys.stderr)
        return 1
    jax.config.update("jax_enable_x64", True)  # Else int64 arguments become int32.
    print(f"Device: {device.platform}, {device.device_kind}; JAX {jax.__version__}")
    rows: list[Row] = []
    for _, folders in sorted(groups.items()):
        rows += run_group(folders, device, arguments, deadline)
        print(table(rows[-len(folders) :]), flush=True)
        if arguments.output:  # After each group: a run that is killed leaves a part.
            found = {
                "device": {"platform": device.platform, "kind": device.device_kind},
                "jax": jax.__version__,
                "rows": [dataclasses.asdict(row) for row in rows],
            }
            arguments.output.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(row.is_right and not row.failure for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
