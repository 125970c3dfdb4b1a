r"""Evaluate an exported model on raw rows, as a client would call it.

Example:
  tf-mtl evaluate --model_dir=runs/mmoe

takes the data set that the run was trained on, and its test split: the numbers are
those of metrics.json. Another folder or another part:

  tf-mtl evaluate --model_dir=saved_models/feed --dataset=census_income \
      --manual_dir=census --split='train[:10%]'

Printed: exact AUC and log loss per task. Written, with --output: the same as JSON.
"""

import json
import pathlib
from typing import Any

from absl import flags

from tf_mtl.experiments.tables import metrics_table


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    for name, default, text in (
        ("model_dir", None, "Folder of a run, or of a SavedModel."),
        ("dataset", None, "Data set; without it, that of the run."),
        ("manual_dir", None, "Folder with its source files; without it, the run's."),
        ("data_dir", None, "Folder for prepared data; without it, the run's."),
        ("split", "test", "Split, or a part such as test[:10%]."),
        ("output", None, "JSON file to write the metrics to."),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Evaluates.

    Raises:
        ValueError: see `evaluation.evaluate_saved_model`; or if model or data set are
            not given and not known.
    """
    if not values.model_dir:
        raise ValueError("`model_dir` must be given: --model_dir=runs/first.")
    known = {**_choices_of_run(values.model_dir), **_given(values)}
    if not known.get("dataset"):
        raise ValueError(
            "`dataset` must be given where `model_dir` is no folder of a run. "
            f"Received: model_dir={values.model_dir!r}."
        )
    from tf_mtl.experiments.evaluation import evaluate_saved_model
    from tf_mtl.files import write_json

    metrics = evaluate_saved_model(values.model_dir, split=values.split, **known)
    print(metrics_table(metrics))
    if values.output:
        write_json(pathlib.Path(values.output), metrics)
        print(f"Written to {values.output}.")


def _given(values: flags.FlagValues) -> dict[str, Any]:
    names = ("dataset", "manual_dir", "data_dir")
    return {name: values[name].value for name in names if values[name].value}


def _choices_of_run(model_dir: str) -> dict[str, Any]:
    folder = pathlib.Path(model_dir).expanduser()
    # The folder of the run, of all versions, or of one.
    for path in (folder, folder.parent, folder.parent.parent):
        config = path / "config.json"
        if config.is_file():
            saved = json.loads(config.read_text())
            return {name: saved.get(name) for name in ("dataset", *_PLACES)}
    return {}


_PLACES = ("manual_dir", "data_dir")
