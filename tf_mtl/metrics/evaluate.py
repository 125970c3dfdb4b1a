"""Exact evaluation of each task on a whole set of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl.tasks import Task, read_targets

# Below the resolution of a float32 probability near 1, which may round to 1.
_CLIP = 1e-7


def evaluate_predictions(
    tasks: Sequence[Task], labels: Mapping[str, Any], predictions: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Metrics of each task over its known labels, with its sample weights.

    All rows are sorted once: no thresholds, unlike `keras.metrics.AUC`.

    Args:
        tasks: sequence of `Task`.
        labels: dict of arrays `(rows,)` by column: labels, masks, sample weights.
        predictions: dict of arrays `(rows,)` or `(rows, 1)` by task name:
            probabilities of binary tasks, values of regressions.

    Returns:
        dict by task name. Binary: `auc` (ties count one half) and `log_loss` (natural
        logarithm). Regression: `rmse`. A metric that does not exist is `None`, and
        `reason` says why: the AUC where all known labels are equal, any metric where
        none is known. `num_known` is the number of known labels.

    Raises:
        ValueError: if a label column or a prediction is missing or differs in length.
    """
    rows = known_rows(tasks, labels, predictions)
    return {
        task.name: (_binary if task.kind == "binary" else _regression)(*found)
        for task, found in zip(tasks, rows, strict=True)
    }


def known_rows(
    tasks: Sequence[Task], labels: Mapping[str, Any], predictions: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of each task whose label is known.

    Args:
        tasks: see `evaluate_predictions`.
        labels: see `evaluate_predictions`.
        predictions: see `evaluate_predictions`.

    Returns:
        list by task of labels, predictions and sample weights, float64 arrays
        `(num_known,)`.

    Raises:
        ValueError: see `evaluate_predictions`.
    """
    targets = read_targets(tasks, labels)
    rows = []
    for i, task in enumerate(tasks):
        if task.name not in predictions:
            raise ValueError(
                f"`predictions` must hold every task. Received: {sorted(predictions)}, "
                f"missing: {task.name!r}."
            )
        predicted = np.asarray(predictions[task.name], np.float64).reshape(-1)
        known = np.asarray(targets.known[i])
        if len(predicted) != len(known):
            raise ValueError(
                f"`predictions` of task {task.name!r} must have a row per label. "
                f"Received: {len(predicted)} predictions, {len(known)} labels."
            )
        label, weight = (
            np.asarray(column[i], np.float64)[known]
            for column in (targets.labels, targets.weights)
        )
        rows.append((label, predicted[known], weight))
    return rows


def _binary(
    labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    # Not needed to train or to serve, and slow to import.
    from sklearn import metrics

    found: dict[str, Any] = {"auc": None, "log_loss": None, "num_known": len(labels)}
    if weights.sum() == 0:
        return {**found, "reason": "no label is known"}
    found["log_loss"] = float(
        metrics.log_loss(
            labels,
            np.clip(predicted, _CLIP, 1 - _CLIP),
            sample_weight=weights,
            labels=[0.0, 1.0],
        )
    )
    classes = np.unique(labels[weights > 0])
    if len(classes) < 2:
        return {**found, "reason": f"all known labels are {classes[0]:g}"}
    auc = metrics.roc_auc_score(labels, predicted, sample_weight=weights)
    return {**found, "auc": float(auc)}


def _regression(
    labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    if weights.sum() == 0:
        return {"rmse": None, "num_known": len(labels), "reason": "no label is known"}
    error = np.average((labels - predicted) ** 2, weights=weights)
    return {"rmse": float(np.sqrt(error)), "num_known": len(labels)}
