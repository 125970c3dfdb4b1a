"""Evaluation of an exported model on raw rows."""

import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl import datasets, metrics
from tf_mtl.datasets.columns import as_dataset
from tf_mtl.experiments.data import make_tasks
from tf_mtl.export.versions import find_saved_model

_BATCH = 4096


def evaluate_saved_model(
    model_dir: str | os.PathLike[str],
    dataset: str,
    split: str = "test",
    manual_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Evaluates an exported model as a client would call it.

    Args:
        model_dir: see `export.versions.find_saved_model`.
        dataset: name of a data set.
        split: string. A split or a part of one, such as `"test[:10%]"`.
        manual_dir: folder with the source files, where the data set has some.
        data_dir: folder for prepared data. `None` means that of TFDS.

    Returns:
        Metrics by task, see `metrics.evaluate_predictions`.

    Raises:
        FileNotFoundError: if there is no model or a source file is missing.
        ValueError: if data set, split or model do not go together.
    """
    version = find_saved_model(model_dir)
    info = datasets.get(dataset)
    signature = tf.saved_model.load(os.fspath(version)).signatures["serving_default"]
    tasks = make_tasks(info)
    wanted = set(signature.structured_input_signature[1])
    _check(version, "reads the columns", wanted, set(info.columns))
    outputs = set(signature.structured_outputs)
    _check(version, "must answer the tasks", {task.name for task in tasks}, outputs)
    features, labels = info.load_columns(split, manual_dir, data_dir)
    answers = [
        signature(**{name: inputs[name] for name in wanted})
        for inputs, _ in as_dataset(features, labels, _BATCH)
    ]
    predictions = {
        task.name: np.concatenate([answer[task.name] for answer in answers])
        for task in tasks
    }
    return metrics.evaluate_predictions(tasks, labels, predictions)


def _check(
    version: pathlib.Path, what: str, wanted: set[str], present: set[str]
) -> None:
    if wanted - present:
        raise ValueError(
            f"The model of {os.fspath(version)!r} {what} {sorted(wanted)}. Received: "
            f"{sorted(present)}, missing {sorted(wanted - present)}. Was it trained on "
            "this data set?"
        )
