"""Runs train steps that `tf-mtl bench hlo` exported: checks results, measures times.

Needs jaxlib and NumPy, and neither JAX nor TensorFlow nor tf_mtl; on an NVIDIA GPU also
the plugin of the same version. Copy the folder to the machine, this file is in it:

  pip install jaxlib 'jax-cuda12-plugin[with-cuda]'
  python run_hlo.py DIR --platform=cuda --output=times.json

A step must give what TensorFlow gave where it was exported. Then the steps of the same
sizes take turns; each turn is a few steps of a training, variables updated in place.
Exit code: 0, or 1 if a configuration failed or gave other results.

XLA may multiply float32 matrices in TensorFloat-32 on a GPU, with relative errors of
about 1e-3; then a wider --tolerance is in order.

jaxlib promises no interface of its own. What is used of it here is that of 0.10.
"""

import argparse
import ctypes
import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import statistics
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

REFERENCE = "ew"
PLATFORMS = ("cuda", "cpu")

# What XLA opens by name and the plugin does not point to itself.
_CUDA_LIBRARIES = ("cuda_nvrtc/lib/libnvrtc.so.*", "cusolver/lib/libcusolver.so.*")


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
        network: sizes of the model, in words.
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
    network: str = ""


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


def find_device(platform: str | None) -> Any:
    """The first device of a platform, by jaxlib alone.

    Args:
        platform: `"cuda"`, `"cpu"`, or None: `"cuda"` if its plugin is installed.

    Raises:
        ImportError: if jaxlib, or its plugin for the platform, is not installed.
        RuntimeError: if there is no such device.
    """
    # Else jaxlib tells of every device that it opens.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    from jaxlib import xla_client

    plugin = _cuda_plugin()
    if platform == "cpu" or (platform is None and plugin is None):
        return xla_client.make_cpu_client().local_devices()[0]
    if plugin is None:
        raise ImportError("no plugin: pip install 'jax-cuda12-plugin[with-cuda]'")
    for pattern in _CUDA_LIBRARIES:
        for library in _cuda_folder(plugin).glob(pattern):
            ctypes.CDLL(str(library))
    xla_client.load_pjrt_plugin_dynamically("cuda", str(plugin))
    xla_client.initialize_pjrt_plugin("cuda")
    options = xla_client.generate_pjrt_gpu_plugin_options()
    return xla_client.make_c_api_client("cuda", options).local_devices()[0]


def _cuda_plugin() -> pathlib.Path | None:
    """The library of the plugin, if it is installed."""
    # Found, but not imported: the module asks for JAX, which the library does not need.
    try:
        spec = importlib.util.find_spec("jax_plugins.xla_cuda12")
    except ImportError:
        return None
    if spec is None or spec.origin is None:
        return None
    return pathlib.Path(spec.origin).with_name("xla_cuda_plugin.so")


def _cuda_folder(plugin: pathlib.Path) -> pathlib.Path:
    """Where NVIDIA's packages are installed, beside that of the plugin."""
    return plugin.parents[2] / "nvidia"


def _compile_options() -> Any:
    from jaxlib import xla_client

    options, plugin = xla_client.CompileOptions(), _cuda_plugin()
    if plugin is not None:
        # XLA looks for the assembler and the device library here first.
        debug_options = options.executable_build_options.debug_options
        debug_options.xla_gpu_cuda_data_dir = str(_cuda_folder(plugin) / "cuda_nvcc")
    return options


def place(array: np.ndarray, device: Any) -> Any:
    """A copy of an array on a device."""
    from jaxlib import xla_client

    class Placement(xla_client.SingleDeviceSharding):
        """What jaxlib asks of the sharding that JAX derives from this class."""

        memory_kind = None

        def _to_xla_hlo_sharding(self, num_dimensions: int) -> Any:
            return xla_client.HloSharding.replicate()

    return xla_client.batched_device_put(
        types.SimpleNamespace(shape=array.shape, dtype=array.dtype, weak_type=False),
        Placement(device),
        [array],
        [device],
        # The default may keep the memory of the array, which a step may then write to.
        host_buffer_semantics=(
            xla_client.HostBufferSemantics.IMMUTABLE_ONLY_DURING_CALL
        ),
        enable_x64=True,  # Else int64 becomes int32.
    )


def fetch(array: Any) -> np.ndarray:
    """A copy of an array that lies on a device."""
    # On the CPU this shows the memory itself, which the next step writes to.
    values, _ = array._single_device_array_to_np_array_did_copy()
    return np.array(values)


class Step:
    """A compiled train step with its arguments on the device.

    Args:
        exported: the files.
        device: see `find_device`.
    """

    def __init__(self, exported: Exported, device: Any) -> None:
        from jaxlib import xla_client

        self._updates = {int(i): arg for i, arg in exported.config["updates"].items()}
        self._executable = device.client.compile_and_load(
            exported.code, xla_client.DeviceList((device,)), _compile_options()
        )
        self._arguments = [place(array, device) for array in exported.arguments]

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
    results = [fetch(result) for result in step()]
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
    from jaxlib import xla_client

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
    wait = xla_client.batched_block_until_ready
    medians, failures = measure(
        steps, arguments.rounds, arguments.calls, wait, deadline
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
        network=config["network"],
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


def _record(row: Row) -> dict[str, Any]:
    """A row as JSON knows it: no number is infinite."""
    record = {**dataclasses.asdict(row), "is_right": row.is_right}
    if row.error is not None and not math.isfinite(row.error):
        record["error"] = None
    return record


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="what `bench hlo` wrote")
    parser.add_argument(
        "--platform", choices=PLATFORMS, help="default: cuda if its plugin is there"
    )
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
    groups: dict[tuple[str, tuple[int, int, int]], list[pathlib.Path]] = {}
    for config in sorted(arguments.folder.glob("[!.]*/config.json")):
        row = describe(config.parent)
        groups.setdefault((row.network, row.sizes), []).append(config.parent)
    if not groups:
        print(f"No exported steps in {str(arguments.folder)!r}.", file=sys.stderr)
        return 1

    try:
        device = find_device(arguments.platform)
        import jaxlib
    except (ImportError, RuntimeError) as error:
        print(f"`platform` needs jaxlib with it. Received: {error}", file=sys.stderr)
        return 1
    version = jaxlib.__version__
    print(f"Device: {device.platform}, {device.device_kind}; jaxlib {version}")
    rows: list[Row] = []
    for (network, _), folders in sorted(groups.items()):
        rows += run_group(folders, device, arguments, deadline)
        print(f"Model: {network}")
        print(table(rows[-len(folders) :]), flush=True)
        if arguments.output:  # After each group: a run that is killed leaves a part.
            found = {
                "device": {"platform": device.platform, "kind": device.device_kind},
                "jaxlib": version,
                "rows": [_record(row) for row in rows],
            }
            arguments.output.write_text(
                json.dumps(found, indent=2, allow_nan=False) + "\n"
            )
    return 0 if all(row.is_right and not row.failure for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
