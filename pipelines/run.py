r"""Runs a pipeline.

Example:
  python -m pipelines.run --pipeline=census_income --data_dir=census

Files and records are kept in --root. What did not change since an earlier run is taken
from there; a run that was killed goes on where it was when it is started again.
Exit code: 0, 1 where a component stopped the pipeline (the reason is printed), 2 after
an error of the user.
"""

import importlib
import json
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags, logging

from pipelines import runners
from pipelines.definition import Pipeline
from tf_mtl.names import unknown_name_error

_FOLDER = pathlib.Path(__file__).parent
NAMES = tuple(sorted(path.parent.name for path in _FOLDER.glob("*/pipeline.py")))

_STOPPED, _USAGE_ERROR = 1, 2

_PIPELINE = flags.DEFINE_string(
    "pipeline", None, f"Pipeline to run: {', '.join(NAMES)}.", required=True
)
_RUNNER = flags.DEFINE_string(
    "runner", "local", f"What executes it: {', '.join(runners.NAMES)}."
)
_ROOT = flags.DEFINE_string(
    "root", None, "Folder of what is written. Default: runs/pipelines/<pipeline>."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the raw files.")
_CONFIG = flags.DEFINE_string(
    "config", "{}", 'JSON that replaces values of its configs.py: {"epochs": 2}.'
)
_BEAM_OPTIONS = flags.DEFINE_list(
    "beam_options",
    [],
    "Options of the Beam pipelines, for --runner=beam: "
    "--runner=FlinkRunner,--flink_master=host:8081.",
)
_CACHE = flags.DEFINE_bool("cache", True, "Take what did not change from earlier runs.")


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
    return configs.make_pipeline(root, data_dir, **json.loads(values))


def main(argv: Sequence[str]) -> int:
    """Runs the pipeline that the flags name."""
    if argv[1:]:
        raise app.UsageError(f"Options are written --name=value, not {argv[1:]}.")
    # What libraries say of their own doing hides the progress.
    logging.set_verbosity(logging.ERROR)
    root = pathlib.Path(_ROOT.value or f"runs/pipelines/{_PIPELINE.value}")
    options = {"beam_options": _BEAM_OPTIONS.value} if _BEAM_OPTIONS.value else {}
    try:
        runner = runners.get(_RUNNER.value)
        pipeline = load(_PIPELINE.value, root, _DATA_DIR.value, _CONFIG.value)
        result = runner.run(pipeline, root, cache=_CACHE.value, **options)
    except (ValueError, OSError) as error:
        notes = getattr(error, "__notes__", ())
        print(f"pipelines.run: error: {error}", *notes, file=sys.stderr)
        return _USAGE_ERROR
    return _STOPPED if result.reason is not None else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
