"""Results of Classify and Regress from the outputs of a model.

Outputs are float arrays `(batch,)` or `(batch, 1)` if not said otherwise. All functions
raise a `RequestError`, FAILED_PRECONDITION, if an output has another shape.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tf_mtl.serving.errors import failed_precondition


def classes_of_signature(
    outputs: Mapping[str, np.ndarray], num_examples: int
) -> classification_pb2.ClassificationResult:
    """Classes from the outputs `classes` and `scores`, each `(batch, classes)`."""
    labels, scores = outputs.get("classes"), outputs.get("scores")
    given = [values for values in (labels, scores) if values is not None]
    if not given:
        raise failed_precondition(
            "A classification signature must have outputs `classes` or `scores`."
        )
    shape = given[0].shape
    if len(shape) != 2 or shape[0] != num_examples or given[-1].shape != shape:
        raise failed_precondition(
            "Classes must have shape (batch, classes). "
            f"Received: {[values.shape for values in given]}, {num_examples} examples."
        )
    result = classification_pb2.ClassificationResult()
    for row in range(num_examples):
        classes = result.classifications.add().classes
        for column in range(shape[1]):
            each = classes.add()
            if labels is not None:
                each.label = tf.compat.as_str_any(labels[row, column])
            if scores is not None:
                each.score = scores[row, column]
    return result


def task_classes(
    outputs: Mapping[str, np.ndarray], tasks: list[str], num_examples: int
) -> classification_pb2.ClassificationResult:
    """One class per task: its name and its probability."""
    scores = [_column(outputs[task], num_examples) for task in tasks]
    return _classes(tasks, zip(*scores, strict=True))


def two_classes(
    values: np.ndarray, num_examples: int
) -> classification_pb2.ClassificationResult:
    """Classes `0` and `1` from the probability of `1`."""
    scores = _column(values, num_examples)
    return _classes(["0", "1"], ((1.0 - score, score) for score in scores))


def _classes(
    labels: Sequence[str], rows: Iterable[Iterable[float]]
) -> classification_pb2.ClassificationResult:
    result = classification_pb2.ClassificationResult()
    for row in rows:
        classes = result.classifications.add().classes
        for label, score in zip(labels, row, strict=True):
            classes.add(label=label, score=score)
    return result


def values(values: np.ndarray, num_examples: int) -> regression_pb2.RegressionResult:
    """A value per example."""
    result = regression_pb2.RegressionResult()
    for value in _column(values, num_examples):
        result.regressions.add(value=value)
    return result


def _column(values: np.ndarray, num_examples: int) -> list[float]:
    if values.shape not in ((num_examples,), (num_examples, 1)):
        raise failed_precondition(
            "An output must have one value per example to be classified or regressed. "
            f"Received: shape {values.shape}, {num_examples} examples."
        )
    return values.ravel().tolist()
