"""Calibration error: how far predicted probabilities are from observed rates."""

from typing import Any

import numpy as np


def calibration_error(
    labels: Any, predictions: Any, weights: Any = None, num_bins: int = 15
) -> float:
    """Expected calibration error (ECE) of the probabilities of a binary task.

    The mean over bins, by their weight, of the distance between the mean prediction
    and the share of positive labels. Bins are quantiles of the predictions: bins of
    equal width would leave nearly all rows of a rare target in one. Equal predictions
    share a bin.

    Args:
        labels: array `(rows,)` of 0 and 1.
        predictions: array `(rows,)` of probabilities.
        weights: array `(rows,)` of sample weights. None: all 1.
        num_bins: int, number of bins at most.

    Returns:
        float in `[0, 1]`; NaN if the weights sum to 0.

    Reference:
        Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning,
        AAAI 2015; there with bins of equal width.
    """
    labels, predictions = (np.asarray(x, np.float64) for x in (labels, predictions))
    weights = np.ones_like(labels) if weights is None else np.asarray(weights)
    if weights.sum() == 0:
        return float("nan")
    edges = np.quantile(predictions, np.linspace(0, 1, num_bins + 1)[1:-1])
    bins = np.searchsorted(np.unique(edges), predictions)
    gaps = np.bincount(bins, weights * (labels - predictions))
    return float(np.abs(gaps).sum() / weights.sum())
