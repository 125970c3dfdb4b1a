"""What an export is: a small JSON file beside the graph."""

import json
import math
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tf_mtl.export.calibration import Calibration
from tf_mtl.export.score import Score
from tf_mtl.export.signatures import input_specs
from tf_mtl.models import TaskTrainer
from tf_mtl.version import __version__


def write_model_info(
    folder: pathlib.Path,
    model: TaskTrainer,
    weights: Sequence[tf.Variable],
    calibration: Calibration | None,
    score: Score | None,
) -> None:
    """Writes `assets.extra/model_info.json`, which TensorFlow leaves alone.

    It holds the tasks with their kinds, the columns of `serving_default` with dtype and
    shape (None where any size will do), the number of weights, method and report of the
    calibration, formula and weights of the score, and the versions of this package and
    of TensorFlow.

    Args:
        folder: folder of the SavedModel.
        model: the model.
        weights: variables of the SavedModel.
        calibration: what maps the probabilities, if anything does.
        score: what is made of them, if anything is.
    """
    info = {
        "tasks": [{"name": task.name, "kind": task.kind} for task in model.tasks],
        "columns": {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
            for name, spec in input_specs(model).items()
        },
        "num_weights": sum(math.prod(weight.shape) for weight in weights),
        "calibration": calibration
        and {"method": calibration.method, "tasks": calibration.report},
        "score": score and score.get_config(),
        "tf_mtl_version": __version__,
        "tensorflow_version": tf.__version__,
    }
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    text = json.dumps(info, indent=2, ensure_ascii=False)
    (extra / "model_info.json").write_text(text + "\n", encoding="utf-8")
