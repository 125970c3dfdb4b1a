r"""Runs a pipeline.

Files and records are kept in --root. What did not change since an earlier run is taken
from there; a run that was killed goes on where it was when it is started again.
Exit code: 0, 3 where a component stopped the pipeline (the reason is printed), 2 after
an error of the user, 1 after any other error.

Example:
  python -m pipelines.run --pipeline=census_income --data_dir=census
"""

import importlib
import json
import pathlib
import sys
from typing import Any

from absl import flags

from pipelines import runners
from pipelines.definition import Pipeline
from tf_mtl import cli
from tf_mtl.names import unknown_name_error

_FOLDER = pathlib.Path(__file__).parent
NAMES = tuple(sorted(path.parent.name for path in _FOLDER.glob("*/pipeline.py")))

# Python itself ends with 1.
_STOPPED = 3


def define_flags(values: flags.FlagValues) -> None:
    """Defines the options."""
    for name, default, text in (
        ("pipeline", None, f"Pipeline to run: {', '.join(NAMES)}."),
        ("runner", "local", f"What executes it: {', '.join(runners.NAMES)}."),
        ("root", None, "Folder of what is written; runs/pipelines/<pipeline>."),
        ("data_dir", None, "Folder of the raw files."),
        (
            "config",
            "{}",
            'JSON that replaces values of configs.py: {"num_requests": 2}.',
        ),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    for name, text in (
        ("image", "For --runner=kubeflow: image of the nodes, with this package."),
        ("remote_root", "For --runner=kubeflow: where the cluster keeps artifacts."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_list(
        "beam_options",
        [],
        "Options of the Beam pipelines, for --runner=beam: "
        "--runner=FlinkRunner,--flink_master=host:8081.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "cache", True, "Take what did not change from earlier runs.", flag_values=values
    )


def run(values: flags.FlagValues) -> int:
    """Runs the pipeline that the options name."""
    names = ("beam_options", "image", "remote_root")
    options = {name: values[name].value for name in names if values[name].value}
    if values.runner != "kubeflow" and {"image", "remote_root"} & set(options):
        raise ValueError("`image` and `remote_root` need --runner=kubeflow.")
    if values.runner == "local" and values.beam_options:
        raise ValueError(
            "`beam_options` need another --runner: beam runs as local does, with these "
            f"options. Received: --runner=local, beam_options={values.beam_options}."
        )
    for name in ("root", "data_dir"):
        if "://" in (values[name].value or ""):
            raise ValueError(
                f"`{name}` must be a folder of this machine. Received: "
                f"{name}={values[name].value!r}. Mount or copy what is elsewhere."
            )
    root = pathlib.Path(values.root or f"runs/pipelines/{values.pipeline}")
    runner = runners.get(values.runner)
    pipeline = load(values.pipeline, root, values.data_dir, values.config)
    result = runner.run(pipeline, root, cache=values.cache, **options)
    return 0 if result.reason is None else _STOPPED


def load(
    name: str, root: pathlib.Path, data_dir: str | None, values: str = "{}"
) -> Pipeline:
    """Makes a pipeline from its `configs.py`.

    Args:
        name: one of `NAMES`.
        root: folder of what is written.
        data_dir: folder of the raw files.
        values: JSON object of values that replace those of the config.

    Raises:
        ValueError: if there is no such pipeline or value, or `data_dir` is missing.
    """
    if name not in NAMES:
        raise unknown_name_error("pipeline", name, NAMES)
    configs = importlib.import_module(f"pipelines.{name}.configs")
    return configs.make_pipeline(root, data_dir, **_parse(values))


def _parse(text: str) -> dict[str, Any]:
    found, reason = None, ""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f": {error}"
    if not isinstance(found, dict):
        raise ValueError(
            "`config` must be a JSON object of values of configs.py, such as "
            f'{{"num_requests": 2}}. Received: {text}{reason}.'
        )
    return found


if __name__ == "__main__":
    module = sys.modules[__name__]
    sys.exit(cli.run_command(module, "pipelines.run", sys.argv[1:]))
