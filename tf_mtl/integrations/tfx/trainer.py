"""What the `run_fn` of a TFX Trainer does: train by a config, export for serving."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from tf_mtl import export
from tf_mtl.datasets.columns import Columns
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import PreparedData, encode, hold_out
from tf_mtl.experiments.fitting import (
    calibrate,
    check_choices,
    evaluate,
    fit_best,
    make_model,
)
from tf_mtl.export.warmup import can_write_warmup
from tf_mtl.features import Feature
from tf_mtl.files import write_json
from tf_mtl.integrations.tfx.features import TransformedFeatures
from tf_mtl.names import unknown_name_error
from tf_mtl.tasks import Task

# Rows that are parsed at a time.
_BATCH = 8192
# Rows of the larger warm-up requests.
_WARMUP_ROWS = 32


def train(
    fn_args: Any,
    make_features: Callable[[tft.TFTransformOutput, int], Sequence[Feature]],
    tasks: Sequence[Task],
    columns: Sequence[str],
) -> None:
    """Trains a model on transformed examples and exports it with the transform graph.

    `fn_args.custom_config` holds fields of `TrainConfig`: `model`, `aggregator`,
    `epochs` ... Values of `fn_args.hyperparameters` replace them. As in `tf-mtl train`,
    a part of the training rows is held out, and the epoch with the best mean AUC on it
    is kept; `calibration` is learned from it too. All rows are held in memory.

    Written to `serving_model_dir`: a SavedModel with the signatures of `export.save`
    and `transform_labels`, which takes serialized examples and gives the label columns
    of the tasks, for TFMA's `preprocessing_function_names`; and warm-up requests
    without any value, if the extra `serving` is installed. Written to `model_run_dir`:
    checkpoints and `metrics.json`, with the metrics of each task on the rows held out
    (`validation`) and on `eval_files` (`eval`), and the best `score`.

    Args:
        fn_args: what TFX hands to `run_fn`.
        make_features: takes the output of Transform and `embedding_dim`; gives features
            of the transformed columns.
        tasks: the tasks; labels, masks and weights are transformed columns.
        columns: names of the raw columns that a request has.

    Raises:
        ValueError: if a value has a name that `TrainConfig` does not have, or the
            export cannot be as asked, see `fitting.check_choices`.
    """
    hyperparameters = (fn_args.hyperparameters or {}).get("values", {})
    choices = {**fn_args.custom_config, **hyperparameters}
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in choices:
        if name not in known:
            raise unknown_name_error("custom_config", name, known)
    config = TrainConfig(**choices)
    keras.utils.set_random_seed(config.seed)
    output = tft.TFTransformOutput(fn_args.transform_graph_path)
    features = TransformedFeatures(
        make_features(output, config.embedding_dim),
        fn_args.transform_graph_path,
        columns,
    )
    keys = label_keys(tasks)
    spec = output.transformed_feature_spec()
    training, validation = hold_out(_read(fn_args.train_files, spec, keys), config)
    data = PreparedData(
        features,
        list(tasks),
        train=encode(features, *training),
        validation=encode(features, *validation),
        test=encode(features, *_read(fn_args.eval_files, spec, keys)),
        sample=_blank_rows(features),
    )
    check_choices(config, data)
    model = make_model(config, data)
    folder = pathlib.Path(fn_args.model_run_dir)
    checkpoint = fit_best(model, config, data, folder / "checkpoints", verbose=2)
    metrics = {
        "validation": evaluate(model, data.tasks, data.validation),
        "eval": evaluate(model, data.tasks, data.test),
    }
    write_json(folder / "metrics.json", {"score": max(checkpoint.scores), **metrics})
    provenance = export.Provenance(
        # Paths mean something on one machine alone; the fingerprint tells the rows.
        data="Transformed examples of a pipeline.",
        fingerprint=data.train.fingerprint(),
        num_rows={
            "train": len(data.train),
            "validation": len(data.validation),
            "eval": len(data.test),
        },
        metrics=metrics,
        choices=choices,
    )
    version = export.save(
        model,
        folder / "export",
        calibration=calibrate(model, config, data),
        score=config.score,
        warmup=data.sample if can_write_warmup() else None,
        provenance=provenance,
        extra_signatures={"transform_labels": _label_signature(features, keys)},
    )
    # TFX wants the files themselves, not a numbered folder of them.
    shutil.copytree(version, fn_args.serving_model_dir, dirs_exist_ok=True)
    shutil.rmtree(folder / "export")


def label_keys(tasks: Sequence[Task]) -> list[str]:
    """Columns that the losses of tasks read: labels, masks, sample weights."""
    found = [(task.label_key, task.mask, task.sample_weight) for task in tasks]
    return list(dict.fromkeys(key for keys in found for key in keys if key))


def _read(
    patterns: Sequence[str], spec: dict[str, Any], labels: Sequence[str]
) -> tuple[Columns, Columns]:
    """Reads transformed examples: columns of features, and of labels."""
    files = sorted(file for p in patterns for file in tf.io.gfile.glob(p))
    rows = tf.data.TFRecordDataset(files, "GZIP").batch(_BATCH)
    batches = list(rows.map(lambda records: tf.io.parse_example(records, spec)))
    with tf.device("CPU:0"):
        columns = {name: tf.concat([b[name] for b in batches], axis=0) for name in spec}
    targets = {name: columns.pop(name) for name in labels}
    return columns, targets


def _blank_rows(features: TransformedFeatures) -> dict[str, np.ndarray]:
    """Requests without a value, since Transform wrote no raw rows to take some from."""
    blank = {tf.string: "", tf.float32: float("nan"), tf.int64: 0}
    return {
        name: np.full(_WARMUP_ROWS, blank[spec.dtype])
        for name, spec in features.raw_signature().items()
    }


def _label_signature(
    features: TransformedFeatures, labels: Sequence[str]
) -> tf.types.experimental.ConcreteFunction:
    def transform_labels(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        transformed = features.transform_examples(examples)
        return {name: transformed[name] for name in labels}

    spec = tf.TensorSpec([None], tf.string, name="examples")
    signature = tf.function(transform_labels, input_signature=[spec])
    return signature.get_concrete_function()
