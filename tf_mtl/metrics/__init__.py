"""Metrics."""

from tf_mtl.metrics.calibration_error import calibration_error
from tf_mtl.metrics.evaluate import evaluate_predictions

__all__ = ["calibration_error", "evaluate_predictions"]
