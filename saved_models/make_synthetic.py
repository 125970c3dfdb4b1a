"""Trains and exports the reference model `synthetic` anew, in about a minute.

    python saved_models/make_synthetic.py

It replaces `saved_models/synthetic`: version 1, and a request with its answer.
"""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import export, models
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import PreparedData, prepare
from tf_mtl.experiments.fitting import evaluate, fit_best, make_model
from tf_mtl.experiments.training import provenance
from tf_mtl.files import write_json

FOLDER = pathlib.Path(__file__).parent / "synthetic"
CONFIG = TrainConfig(
    dataset="drgrad_conflict_noisy",
    model="mmoe",
    model_args={"num_experts": 4, "expert_units": [32, 16], "tower_units": [8]},
    embedding_dim=4,
    epochs=5,
    batch_size=512,
    dropout=0.0,
)
NUM_ROWS = 3


def main() -> None:
    """Makes the folder."""
    keras.utils.set_random_seed(CONFIG.seed)
    data = prepare(CONFIG)
    model = make_model(CONFIG, data)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        fit_best(model, CONFIG, data, work / "checkpoints", verbose=2)
        result = _export(model, data, work / "synthetic")
        # Not before: while files are missing, the revision of the code is "dirty".
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(work / "synthetic", FOLDER)
    print(json.dumps(result["test"], indent=2))


def _export(
    model: models.MultiTaskModel, data: PreparedData, folder: pathlib.Path
) -> dict[str, Any]:
    """Writes the version, and a request with its answer."""
    predicted = model.predict(data.validation.inputs, batch_size=4096, verbose=0)
    result = {
        "config": dataclasses.asdict(CONFIG),
        "validation": evaluate(model, data.tasks, data.validation),
        "test": evaluate(model, data.tasks, data.test),
    }
    version = export.save(
        model,
        folder,
        calibration=export.fit_calibration(
            data.tasks, data.validation.labels, predicted, "platt"
        ),
        score=export.Score.weighted_sum({"label_1": 1.0, "label_2": 0.5}),
        warmup=data.sample,
        provenance=provenance(data, result),
    )
    serve = tf.saved_model.load(version).signatures["serving_default"]
    inputs = {n: tf.constant(rows[:NUM_ROWS]) for n, rows in data.sample.items()}
    write_json(folder / "request.json", {"inputs": _lists(inputs)})
    write_json(folder / "response.json", {"outputs": _lists(serve(**inputs))})
    return result


def _lists(tensors: dict[str, tf.Tensor]) -> dict[str, list[float]]:
    return {name: np.asarray(each).tolist() for name, each in sorted(tensors.items())}


if __name__ == "__main__":
    main()
