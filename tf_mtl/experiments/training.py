"""One training run: from a config to a checked, exported model and its numbers."""

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import aggregators, callbacks, export, metrics, models, optimizers
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import PreparedData, Rows, prepare
from tf_mtl.experiments.run_folder import RunFolder
from tf_mtl.files import write_json
from tf_mtl.tasks import Task

# Rows per batch of an evaluation, and of the look at the gradients.
_EVALUATION_BATCH = 4096
_PROBE_ROWS = 1024

_OPTIMIZERS = {
    "lazy_adam": optimizers.LazyAdam,
    "lazy_adagrad": optimizers.LazyAdagrad,
    "lazy_sgd": optimizers.LazySGD,
    "ada_task": optimizers.AdaTask,
    "adam": keras.optimizers.Adam,
    "adagrad": keras.optimizers.Adagrad,
    "sgd": keras.optimizers.SGD,
}


def train(
    config: TrainConfig,
    output_dir: str | os.PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains, evaluates on the test split, exports.

    The epoch with the best validation score is kept: the mean AUC of the binary tasks,
    or without any the loss. The test split is looked at once, at the end.

    Written to `output_dir`: `config.json`, `checkpoints/`, `logs/` (TensorBoard, and
    the conflicts if `monitor_every` is set), `saved_model/1` and, last, `metrics.json`.

    Args:
        config: the choices of the run.
        output_dir: folder for everything that is written.
        resume: bool. Goes on after the last finished epoch of a run that was stopped,
            with the same numbers as if it had not been. A finished run is only read.
        overwrite: bool. Deletes an earlier run in the folder first.
        extra_callbacks: Keras callbacks to add.

    Returns:
        The content of `metrics.json`: `test` and `validation` (metrics by task),
        `train` (`epochs`, `best_epoch`, `history` with the logs of each epoch),
        `throughput` and `config`.

    Raises:
        FileExistsError: if the folder holds a run and neither `resume` nor
            `overwrite` is given.
        FileNotFoundError: if a source file of the data set is missing.
        ValueError: if a source file is damaged, or a resumed run began with other
            choices.
    """
    folder = RunFolder(output_dir)
    folder.start(config, resume, overwrite)
    finished = folder.finished()
    if finished is not None:
        return finished
    keras.utils.set_random_seed(config.seed)
    data = prepare(config)
    batch_size = min(config.batch_size, len(data.train))
    steps = len(data.train) // batch_size
    model = make_model(config, data, steps)
    checkpoint = callbacks.Checkpoint(
        folder.checkpoints,
        score=lambda logs: validation_score(data.tasks, logs),
        patience=config.patience,
    )
    throughput = callbacks.Throughput(batch_size)
    first = checkpoint.resume(model)
    if first < config.epochs and not checkpoint.stopped:
        rows = data.train.batches(batch_size, config.seed, drop_remainder=True)
        model.fit(
            # The order of the rows follows from seed and epoch.
            rows.repeat().skip(first * steps),
            steps_per_epoch=steps,
            initial_epoch=first,
            epochs=config.epochs,
            shuffle=False,
            validation_data=data.validation.batches(_EVALUATION_BATCH),
            callbacks=[
                throughput,
                keras.callbacks.TensorBoard(folder.logs, write_graph=False),
                *_monitor(config, folder, data.train),
                checkpoint,
                *extra_callbacks,
            ],
            # Bars of a log file would be one line per step.
            verbose=1 if sys.stdout.isatty() else 2,
        )
    checkpoint.restore_best(model)
    result = {
        "test": _evaluate(model, data.tasks, data.test),
        "validation": _evaluate(model, data.tasks, data.validation),
        "train": {
            "epochs": len(checkpoint.history),
            "best_epoch": checkpoint.best_epoch,
            "history": checkpoint.history,
        },
        "throughput": throughput.result(),
        "config": dataclasses.asdict(config),
    }
    # A version of a run that was stopped while it wrote may be half there.
    shutil.rmtree(folder.saved_model, ignore_errors=True)
    export.save(model, os.fspath(folder.saved_model))
    write_json(folder.metrics, result)
    return result


def make_model(
    config: TrainConfig, data: PreparedData, steps_per_epoch: int
) -> models.MultiTaskModel:
    """Builds and compiles the model of a run.

    Args:
        config: the choices of the run.
        data: features and tasks.
        steps_per_epoch: int. Sets the length of the schedule of the learning rate.

    Returns:
        A compiled model.
    """
    arguments = {"dropout": config.dropout, **config.model_args}
    model = models.get(config.model)(data.preprocessor, data.tasks, **arguments)
    learning_rate: Any = config.learning_rate
    if config.schedule == "cosine":
        learning_rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, config.epochs * steps_per_epoch
        )
    model.compile(
        optimizer=_OPTIMIZERS[config.optimizer](learning_rate),
        aggregator=aggregators.get(config.aggregator, **config.aggregator_args),
        surface=config.surface,
        jit_compile=config.jit,
    )
    return model


def validation_score(tasks: Sequence[Task], logs: Mapping[str, float]) -> float:
    """What early stopping maximises.

    Args:
        tasks: the tasks.
        logs: logs of an epoch with validation.

    Returns:
        float: mean validation AUC of the binary tasks; without any, minus the loss.
    """
    scores = [logs[f"val_{t.name}_auc"] for t in tasks if t.kind == "binary"]
    return sum(scores) / len(scores) if scores else -logs["val_loss"]


def _monitor(
    config: TrainConfig, folder: RunFolder, rows: Rows
) -> list[keras.callbacks.Callback]:
    if not config.monitor_every:
        return []
    probe = next(iter(rows.batches(min(_PROBE_ROWS, len(rows)))))
    return [
        callbacks.ConflictMonitor(
            folder.logs / "conflicts", probe, every=config.monitor_every
        )
    ]


def _evaluate(
    model: models.MultiTaskModel, tasks: Sequence[Task], rows: Rows
) -> dict[str, dict[str, Any]]:
    inputs: tf.data.Dataset = rows.batches(_EVALUATION_BATCH)
    predictions = model.predict(inputs.map(lambda x, _: x), verbose=0)
    return metrics.evaluate_predictions(tasks, rows.labels, predictions)
