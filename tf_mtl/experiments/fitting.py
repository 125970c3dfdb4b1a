"""The model of a run, and its way to the best epoch."""

import os
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import aggregators, callbacks, metrics, models
from tf_mtl.experiments.config import OPTIMIZERS, TrainConfig
from tf_mtl.experiments.data import PreparedData, Rows
from tf_mtl.export.calibration import Calibration, check_labels, fit_calibration
from tf_mtl.export.score import Score
from tf_mtl.tasks import Task

# Rows per batch of an evaluation.
_EVALUATION_BATCH = 4096


def make_model(config: TrainConfig, data: PreparedData) -> models.MultiTaskModel:
    """Builds and compiles the model of a run.

    Args:
        config: the choices of the run.
        data: features, tasks and rows.

    Returns:
        A compiled model.
    """
    arguments = {"dropout": config.dropout, **config.model_args}
    model = models.get(config.model)(data.preprocessor, data.tasks, **arguments)
    learning_rate: Any = config.learning_rate
    if config.schedule == "cosine":
        _, steps = _batches(config, data)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, config.epochs * steps
        )
    model.compile(
        optimizer=pkgutil.resolve_name(OPTIMIZERS[config.optimizer])(learning_rate),
        aggregator=aggregators.get(config.aggregator, **config.aggregator_args),
        surface=config.surface,
        jit_compile=config.jit,
    )
    return model


def fit_best(
    model: models.MultiTaskModel,
    config: TrainConfig,
    data: PreparedData,
    folder: str | os.PathLike[str],
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
) -> callbacks.Checkpoint:
    """Trains until validation scores rise no more, and goes back to the best epoch.

    Goes on after the last epoch that was saved in `folder`, if there is one, with the
    same numbers as if it had not stopped: the order of the rows follows from seed and
    epoch.

    Args:
        model: as `make_model` made it.
        config: the choices of the run.
        data: the rows.
        folder: for the last and the best epoch.
        extra_callbacks: Keras callbacks that see an epoch before it is saved.
        verbose: as `keras.Model.fit` takes it.

    Returns:
        The checkpoint, which knows the scores and logs of all epochs.
    """
    checkpoint = callbacks.Checkpoint(
        folder,
        score=lambda logs: validation_score(data.tasks, logs),
        patience=config.patience,
    )
    first = checkpoint.resume(model)
    if first < config.epochs and not checkpoint.stopped:
        batch_size, steps = _batches(config, data)
        rows = data.train.batches(batch_size, config.seed, drop_remainder=True)
        model.fit(
            rows.repeat().skip(first * steps),
            steps_per_epoch=steps,
            initial_epoch=first,
            epochs=config.epochs,
            shuffle=False,
            validation_data=data.validation.batches(_EVALUATION_BATCH),
            callbacks=[*extra_callbacks, checkpoint],
            verbose=verbose,
        )
    checkpoint.restore_best(model)
    return checkpoint


def check_choices(config: TrainConfig, data: PreparedData) -> None:
    """Checks, before any training, that the export can be as asked.

    Args:
        config: the choices of the run.
        data: tasks and rows.

    Raises:
        ValueError: if the formula of the score names what is no task, or the rows held
            out are too few to calibrate on.
    """
    if config.score is not None:
        Score(config.score).check_tasks([task.name for task in data.tasks])
    if config.calibration is not None:
        check_labels(data.tasks, data.validation.labels)


def calibrate(
    model: models.MultiTaskModel, config: TrainConfig, data: PreparedData
) -> Calibration | None:
    """Learns the calibration of a model on the rows held out.

    They chose the epoch too, so that its report is a little too good.

    Args:
        model: the trained model.
        config: the choices of the run.
        data: tasks and rows.

    Returns:
        The calibration; None if none is asked for.
    """
    if config.calibration is None:
        return None
    predictions = _predict(model, data.validation)
    labels = data.validation.labels
    return fit_calibration(data.tasks, labels, predictions, config.calibration)


def evaluate(
    model: models.MultiTaskModel, tasks: Sequence[Task], rows: Rows
) -> dict[str, dict[str, Any]]:
    """Exact metrics of a model, see `metrics.evaluate_predictions`.

    Args:
        model: the model.
        tasks: its tasks.
        rows: what to evaluate on.

    Returns:
        dict of metrics by task.
    """
    return metrics.evaluate_predictions(tasks, rows.labels, _predict(model, rows))


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


def _predict(model: models.MultiTaskModel, rows: Rows) -> dict[str, Any]:
    inputs: tf.data.Dataset = rows.batches(_EVALUATION_BATCH).map(lambda x, _: x)
    return model.predict(inputs, verbose=0)


def _batches(config: TrainConfig, data: PreparedData) -> tuple[int, int]:
    """Rows of a batch, and batches of an epoch."""
    batch_size = min(config.batch_size, len(data.train))
    return batch_size, len(data.train) // batch_size
