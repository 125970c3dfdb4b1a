"""Calibration: probabilities of each task mapped to the rates that were observed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.datasets.columns import num_rows
from tf_mtl.metrics import calibration_error
from tf_mtl.metrics.evaluate import evaluate_predictions, known_rows
from tf_mtl.names import unknown_name_error
from tf_mtl.tasks import Task

METHODS = ("isotonic", "platt")

# As for the log loss: float32 holds no logit of a probability nearer to 0 or 1.
_CLIP = 1e-7

# Numbers of the map of one task, by name.
Parameters = Mapping[str, Any]


@keras.saving.register_keras_serializable(package="tf_mtl")
class Calibration:
    """Maps probabilities, one map for each task; `fit_calibration` makes it.

    Args:
        method: `"isotonic"`: linear between knots and constant outside; or `"platt"`:
            `sigmoid(slope * logit(p) + intercept)`.
        parameters: dict by task of `{"knots": [...], "values": [...]}`, knots rising,
            or of `{"slope": ..., "intercept": ...}`.
        report: dict by task of what `fit_calibration` measured.

    Call arguments:
        predictions: dict by task of float32 tensors `(batch,)`: probabilities.

    Returns:
        dict of tensors as `predictions`; tasks without a map are left as they are.

    Raises:
        ValueError: if `method` is unknown.
    """

    def __init__(
        self,
        method: str,
        parameters: Mapping[str, Parameters],
        report: Mapping[str, Any] | None = None,
    ) -> None:
        if method not in METHODS:
            raise unknown_name_error("method", method, METHODS)
        self.method = method
        self.parameters = {name: dict(each) for name, each in parameters.items()}
        self.report = dict(report or {})

    def __call__(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Maps the predictions of a batch."""
        apply = _MAPS[self.method]
        return {
            name: apply(values, self.parameters[name])
            if name in self.parameters
            else values
            for name, values in predictions.items()
        }

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON can write them."""
        return {
            "method": self.method,
            "parameters": self.parameters,
            "report": self.report,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**config)


def fit_calibration(
    tasks: Sequence[Task],
    labels: Mapping[str, Any],
    predictions: Mapping[str, Any],
    method: str = "isotonic",
) -> Calibration:
    """Learns how often what was predicted came true.

    Fit it on rows that the model was not trained on, such as those of validation.
    `"platt"` has two numbers for each task and keeps the order of rows, or turns it
    round where the model ranks worse than by chance. `"isotonic"` follows any rising
    curve, wants thousands of rows, and makes predictions of one stretch equal, so that
    their order is lost. Its values stay away from 0 and 1 by `1 / (rows + 2)`.

    The report tells, for each task, log loss and expected calibration error
    (`metrics.calibration_error`) before and after. Rows are cut in two halves, and each
    is judged by the map of the other: the maps that are returned saw all rows.

    Args:
        tasks: the tasks; those that are not binary are left out.
        labels: dict of arrays `(rows,)` by column, as `fit` takes them. Unknown labels
            and sample weights count as in `metrics.evaluate_predictions`.
        predictions: dict of arrays `(rows,)` by task, as `model.predict` gives them.
        method: `"isotonic"` or `"platt"`.

    Returns:
        `Calibration`, for `export.save`.

    Raises:
        ValueError: if `method` is unknown, no task is binary, or a task has less than
            two known labels of a class.

    Reference:
        Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass
        Probability Estimates, KDD 2002. Platt, Probabilistic Outputs for Support Vector
        Machines, 1999; here on the logit, without his smoothing of labels.
    """
    # Slow to import, and needed by no model that is served.
    from sklearn.model_selection import StratifiedKFold

    if method not in METHODS:
        raise unknown_name_error("method", method, METHODS)
    binary = _binary(tasks)
    fit, apply = _FITS[method], _MAPS[method]
    parameters, report = {}, {}
    halves = StratifiedKFold(2, shuffle=True, random_state=0)
    rows = known_rows(binary, labels, predictions)
    for task, (label, predicted, weight) in zip(binary, rows, strict=True):
        label, predicted, weight = (x[weight > 0] for x in (label, predicted, weight))
        _check_classes(task, label)
        # What is served is float32 too: knots that differ here differ there.
        predicted = predicted.astype(np.float32)
        parameters[task.name] = fit(predicted, label, weight)
        held_out = np.empty_like(predicted)
        for seen, other in halves.split(predicted, label):
            half = fit(predicted[seen], label[seen], weight[seen])
            held_out[other] = apply(tf.constant(predicted[other]), half).numpy()
        report[task.name] = {
            "num_known": len(label),
            "before": _measure(label, predicted, weight),
            "after": _measure(label, held_out, weight),
        }
    return Calibration(method, parameters, report)


def check_labels(tasks: Sequence[Task], labels: Mapping[str, Any]) -> None:
    """Checks that `fit_calibration` can learn from labels, before there is a model.

    Args:
        tasks: see `fit_calibration`.
        labels: see `fit_calibration`.

    Raises:
        ValueError: see `fit_calibration`.
    """
    binary = _binary(tasks)
    blank = np.zeros(num_rows(labels))
    rows = known_rows(binary, labels, {task.name: blank for task in binary})
    for task, (label, _, weight) in zip(binary, rows, strict=True):
        _check_classes(task, label[weight > 0])


def _binary(tasks: Sequence[Task]) -> list[Task]:
    binary = [task for task in tasks if task.kind == "binary"]
    if not binary:
        raise ValueError(
            "`tasks` must hold a binary task: regressions have no probabilities. "
            f"Received: {[task.name for task in tasks]}."
        )
    return binary


def _check_classes(task: Task, labels: np.ndarray) -> None:
    counts = {0: int(np.sum(labels == 0)), 1: int(np.sum(labels == 1))}
    if min(counts.values()) < 2:
        raise ValueError(
            f"`labels` of task {task.name!r} must hold two known labels of each class, "
            f"with a sample weight. Received: {counts[0]} of 0, {counts[1]} of 1. Pass "
            "more rows, or leave the task out of `tasks`."
        )


def _measure(
    labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    task = Task("label", sample_weight="weight")
    columns = {"label": labels, "weight": weights}
    found = evaluate_predictions([task], columns, {"label": predictions})
    error = calibration_error(labels, predictions, weights)
    return {"log_loss": found["label"]["log_loss"], "calibration_error": error}


def _fit_isotonic(
    predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> Parameters:
    from sklearn.isotonic import IsotonicRegression

    floor = 1 / (len(labels) + 2)
    curve = IsotonicRegression(y_min=floor, y_max=1 - floor)
    curve.fit(predictions.astype(np.float64), labels, weights)
    return {
        "knots": curve.X_thresholds_.tolist(),
        "values": curve.y_thresholds_.tolist(),
    }


def _fit_platt(
    predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> Parameters:
    from sklearn.linear_model import LogisticRegression

    logits = _logit(tf.constant(predictions)).numpy()[:, None]
    line = LogisticRegression(C=np.inf).fit(logits, labels, weights)
    return {"slope": float(line.coef_[0, 0]), "intercept": float(line.intercept_[0])}


def _map_isotonic(predictions: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    knots = tf.constant(parameters["knots"], predictions.dtype)
    values = tf.constant(parameters["values"], predictions.dtype)
    right = tf.minimum(tf.searchsorted(knots, predictions), knots.shape[0] - 1)
    left = tf.maximum(right - 1, 0)  # The same knot, below the first.
    start, low = tf.gather(knots, left), tf.gather(values, left)
    width, step = tf.gather(knots, right) - start, tf.gather(values, right) - low
    share = tf.math.divide_no_nan(predictions - start, width)
    return low + step * tf.clip_by_value(share, 0.0, 1.0)


def _map_platt(predictions: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    logits = parameters["slope"] * _logit(predictions) + parameters["intercept"]
    return tf.sigmoid(logits)


def _logit(predictions: tf.Tensor) -> tf.Tensor:
    clipped = tf.clip_by_value(predictions, _CLIP, 1 - _CLIP)
    return tf.math.log(clipped) - tf.math.log1p(-clipped)


_FITS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Parameters]]
_FITS = {"isotonic": _fit_isotonic, "platt": _fit_platt}
_MAPS: dict[str, Callable[[tf.Tensor, Parameters], tf.Tensor]]
_MAPS = {"isotonic": _map_isotonic, "platt": _map_platt}
