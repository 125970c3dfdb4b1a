import numpy as np
import pytest

from tf_mtl.metrics import calibration_error


def test_two_bins_by_hand():
    labels, predictions = [0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9]
    # Bins {0.2, 0.4} and {0.6, 0.9}: sums of label minus prediction are 0.4 and 0.5.
    found = calibration_error(labels, predictions, num_bins=2)
    assert found == pytest.approx((0.4 + 0.5) / 4)
    weighted = calibration_error(labels, predictions, [2.0, 1.0, 0.0, 1.0], num_bins=2)
    assert weighted == pytest.approx((abs(2 * -0.2 + 0.6) + 0.1) / 4)


def test_equal_predictions_share_a_bin():
    labels = np.array([0, 1] * 50)
    assert calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)


def test_rates_that_are_met_have_no_error_and_others_their_distance():
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 0.02, 200_000)
    labels = rng.uniform(size=rates.size) < rates
    assert calibration_error(labels, rates) < 1e-3
    assert calibration_error(labels, rates + 0.1) == pytest.approx(0.1, abs=1e-3)


def test_no_row_has_no_error():
    assert np.isnan(calibration_error([], []))
