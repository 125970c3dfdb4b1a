"""Train steps as StableHLO modules with recorded results, to run without TensorFlow."""

import dataclasses
import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any, TextIO

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import optimizers
from tf_mtl.benchmarks.methods import Method
from tf_mtl.benchmarks.results import device_name
from tf_mtl.benchmarks.step import step_label
from tf_mtl.benchmarks.workload import Workload

# Of a float result, against the norm of what TensorFlow computed. Another XLA on the
# same kind of device stays below 1e-5; matrix products in TensorFloat-32 do not.
TOLERANCE = 1e-3

# "{5}: (22, {}, may-alias)": result 5 is the new value of argument 22.
_ALIAS = re.compile(r"\{(\d+)\}: \((\d+), \{\}, \w+-alias\)")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What is exported.

    Attributes:
        method: aggregator, surface and options.
        workload: sizes of the model and of the batch.
        model: architecture, see `Workload.model`.
    """

    method: Method
    workload: Workload
    model: str = "mmoe"

    @property
    def name(self) -> str:
        """Name of its folder."""
        work = self.workload
        sizes = f"t{work.num_tasks}-b{work.batch_size}-v{work.vocabulary}"
        return re.sub("[^a-z0-9_.=]+", "-", f"{self.label}-{sizes}".lower())

    @property
    def label(self) -> str:
        """What tables call it."""
        return step_label(self.model, self.method.label)


@dataclasses.dataclass(frozen=True)
class ExportedStep:
    """A train step as a pure function of arrays.

    Attributes:
        code: bytes, the serialized StableHLO module.
        argument_names: list of strings.
        arguments: list of arrays: ids by feature, labels by task, then the variables
            before the step.
        result_names: list of strings.
        results: list of arrays: the logs of the step, then the variables that it
            writes, after it; as computed by TensorFlow on this machine.
        updates: dict. Index of a result -> index of the argument of which it is the
            new value.
    """

    code: bytes
    argument_names: list[str]
    arguments: list[np.ndarray]
    result_names: list[str]
    results: list[np.ndarray]
    updates: dict[int, int]


def export(
    configurations: Sequence[Configuration], path: str, out: TextIO | None = None
) -> None:
    """Writes a folder for each configuration, and `run_hlo.py` beside them.

    A configuration's folder holds `module.stablehlo`, `arguments.npz` and
    `results.npz` (arrays named `0`, `1`, ... in the order of the module) and
    `config.json`. It appears when it is complete.

    Args:
        configurations: what to export.
        path: the folder to make.
        out: where progress is printed; None: standard output.

    Raises:
        FileExistsError: if `path` exists.
        ValueError: if a model is unknown or cannot have the sizes of its workload.
    """
    folder = pathlib.Path(path).expanduser()
    if folder.exists():
        raise FileExistsError(
            f"`out` must not exist yet. Received: {path!r}. Delete it or choose "
            "another folder."
        )
    pairs = [(each.workload, each.model) for each in configurations]
    for workload, model in dict.fromkeys(pairs):
        workload.check([model])
    for configuration in configurations:
        print(
            f"{configuration.name}: {configuration.workload.sizes} ...",
            end=" ",
            file=out,
            flush=True,
        )
        step = export_step(configuration)
        # Not before: a configuration that cannot be exported leaves no folder behind.
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pathlib.Path(__file__).with_name("run_hlo.py"), folder)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
            whole = pathlib.Path(temporary, configuration.name)
            _write(whole, configuration, step)
            written = sum(file.stat().st_size for file in whole.iterdir())
            whole.rename(folder / configuration.name)
        print(f"{written / 1e6:.0f} MB", file=out)
        keras.backend.clear_session()


def export_step(configuration: Configuration) -> ExportedStep:
    """Lowers the train step of a configuration and runs it once.

    Args:
        configuration: what to export.

    Returns:
        The step, taken from the state after one other step.
    """
    workload = configuration.workload
    model, batch = workload.model(configuration.model), workload.batch()
    # XLA functions may not create variables: all of them are made here.
    model(batch[0])
    model.compile(
        optimizers.LazyAdam(1e-3),
        aggregator=configuration.method.make(),
        surface=configuration.method.surface,
    )
    step = tf.function(model.train_step, jit_compile=True, autograph=False)
    # Fresh state is mostly zeros, which would hide arguments taken for each other.
    step(workload.batch(seed=1))

    traced = step.get_concrete_function(batch)
    variables = {id(variable.handle): variable for variable in traced.variables}
    captured = [variables[id(handle)] for handle in traced.captured_inputs]
    lower = step.experimental_get_compiler_ir(batch)
    updates = _updates(lower(stage="hlo"), len(traced.outputs))
    code = lower(stage="stablehlo_serialized")

    ids, labels = batch
    inputs = [*tf.nest.flatten(batch), *captured]
    arguments = [tensor.numpy() for tensor in inputs]
    logs = step(batch)
    written = [inputs[i] for i in updates.values()]
    return ExportedStep(
        code=code,
        # TensorFlow flattens a dict by its sorted keys.
        argument_names=[*sorted(ids), *sorted(labels), *(v.name for v in captured)],
        arguments=arguments,
        result_names=[*sorted(logs), *(v.name for v in written)],
        results=[tensor.numpy() for tensor in [*tf.nest.flatten(logs), *written]],
        updates=updates,
    )


def _updates(hlo: str, num_outputs: int) -> dict[int, int]:
    """Reads off the text of a module which results are new values of arguments."""
    header = hlo.split("\n", 1)[0]
    updates = {int(result): int(arg) for result, arg in _ALIAS.findall(header)}
    if list(updates) != list(range(num_outputs, num_outputs + len(updates))):
        raise RuntimeError(
            "The results of a module must be the outputs of the function and then the "
            f"variables that it writes. Received: {num_outputs} outputs and new values "
            f"of arguments at {list(updates)}. This TensorFlow orders them otherwise."
        )
    return updates


def _write(
    folder: pathlib.Path, configuration: Configuration, step: ExportedStep
) -> None:
    folder.mkdir()
    (folder / "module.stablehlo").write_bytes(step.code)
    for name in ("arguments", "results"):
        arrays = {str(i): array for i, array in enumerate(getattr(step, name))}
        np.savez_compressed(folder / f"{name}.npz", **arrays)
    workload = configuration.workload
    config = {
        "label": configuration.label,
        "model": configuration.model,
        "method": configuration.method.name,
        "surface": configuration.method.surface,
        "num_tasks": workload.num_tasks,
        "batch_size": workload.batch_size,
        "vocabulary": workload.vocabulary,
        "network": str(workload.sizes),
        "tolerance": TOLERANCE,
        "updates": {str(result): arg for result, arg in step.updates.items()},
        "arguments": _describe(step.argument_names, step.arguments),
        "results": _describe(step.result_names, step.results),
        "recorded_with": {
            "tensorflow": tf.__version__,
            "keras": keras.version(),
            "device": device_name(),
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def _describe(names: Sequence[str], arrays: Sequence[np.ndarray]) -> list[list[Any]]:
    return [
        [name, array.dtype.name, list(array.shape)]
        for name, array in zip(names, arrays, strict=True)
    ]
