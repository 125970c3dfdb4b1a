"""Metrics."""

from tf_mtl.metrics.evaluate import evaluate_predictions

__all__ = ["evaluate_predictions"]
