"""What an export is, as JSON can write it."""

import dataclasses
import datetime
import math
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.export.calibration import Calibration
from tf_mtl.export.provenance import Provenance
from tf_mtl.export.score import Score
from tf_mtl.export.signatures import input_specs
from tf_mtl.models import TaskTrainer
from tf_mtl.version import __version__


def model_info(
    model: TaskTrainer,
    weights: Sequence[tuple[str, tf.Variable]],
    calibration: Calibration | None = None,
    score: Score | None = None,
    provenance: Provenance | None = None,
) -> dict[str, Any]:
    """The content of `assets.extra/model_info.json`.

    Args:
        model: the model.
        weights: variables of the SavedModel with their names, in its order.
        calibration: what maps the probabilities, if anything does.
        score: what is made of them, if anything is.
        provenance: where the model comes from, if it is known.

    Returns:
        dict of `architecture`; `tasks`; `features`; `columns`, the inputs of
        `serving_default` with dtype and shape (None where any size will do);
        `num_weights`; `weights`, their names; `calibration`, its method and report;
        `score`, formula and weights; `provenance`; `created`, UTC; `git_revision` of
        the working directory, with `-dirty` if files were changed, None where there is
        no repository; and the versions of this package and of TensorFlow.
    """
    return {
        "architecture": type(model).__name__,
        "tasks": [
            {"name": task.name, "kind": task.kind, "primary": task.primary}
            for task in model.tasks
        ],
        "features": _features(model),
        "columns": {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
            for name, spec in input_specs(model).items()
        },
        "num_weights": sum(math.prod(weight.shape) for _, weight in weights),
        "weights": [name for name, _ in weights],
        "calibration": calibration
        and {"method": calibration.method, "tasks": calibration.report},
        "score": score and score.get_config(),
        "provenance": provenance and dataclasses.asdict(provenance),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": _git_revision(),
        "tf_mtl_version": __version__,
        "tensorflow_version": tf.__version__,
    }


def _features(model: TaskTrainer) -> list[Mapping[str, str]]:
    if model.features is None:
        return []
    return [
        {"name": each.name, "kind": type(each).__name__, "column": each.column_name}
        for each in model.features.features
    ]


def _git_revision() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
