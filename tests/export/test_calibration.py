"""Calibration against scikit-learn, and inside an export."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.isotonic import IsotonicRegression

from tf_mtl import Task, export

from .conftest import RAW, TASKS, Saved

CLICK, DWELL = TASKS
every_method = pytest.mark.parametrize("method", ["isotonic", "platt"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def make_rows(size=20_000, seed=0):
    """Labels by known rates, and predictions whose logits are off by a line."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.0, 1.5, size)
    labels = (rng.uniform(size=size) < sigmoid(logits)).astype(np.float32)
    predictions = sigmoid(2.0 * logits + 1.0).astype(np.float32)
    return {"click": labels}, {"click": predictions}, sigmoid(logits)


@every_method
def test_probabilities_become_the_rates(method):
    labels, predictions, rates = make_rows()
    calibration = export.fit_calibration([CLICK], labels, predictions, method)
    found = calibration({"click": tf.constant(predictions["click"])})["click"]
    assert np.mean(np.abs(predictions["click"] - rates)) > 0.05
    assert np.mean(np.abs(found - rates)) < 0.015
    report = calibration.report["click"]
    assert report["num_known"] == 20_000
    assert report["before"]["calibration_error"] > 0.05
    assert report["after"]["calibration_error"] < 0.01
    assert report["after"]["log_loss"] < report["before"]["log_loss"] - 0.01


def test_platt_finds_the_line():
    labels, predictions, _ = make_rows(100_000)
    found = export.fit_calibration([CLICK], labels, predictions, "platt").parameters
    # The inverse of 2 x + 1.
    assert found["click"]["slope"] == pytest.approx(0.5, abs=0.02)
    assert found["click"]["intercept"] == pytest.approx(-0.5, abs=0.03)


def test_isotonic_is_that_of_scikit_learn():
    labels, predictions, _ = make_rows(2000)
    calibration = export.fit_calibration([CLICK], labels, predictions)
    floor = 1 / 2002
    curve = IsotonicRegression(y_min=floor, y_max=1 - floor, out_of_bounds="clip")
    curve.fit(predictions["click"].astype(float), labels["click"])
    asked = np.linspace(0, 1, 1001, dtype=np.float32)
    found = calibration({"click": tf.constant(asked)})["click"].numpy()
    np.testing.assert_allclose(found, curve.predict(asked), atol=1e-5)
    assert np.all(np.diff(found) >= -1e-6)
    assert found[0] >= floor * 0.999
    assert found[-1] <= 1 - floor * 0.999


def test_predictions_that_are_all_equal_become_the_mean():
    labels = {"click": np.array([0.0, 0.0, 1.0, 1.0, 1.0])}
    predictions = {"click": np.full(5, 0.9, np.float32)}
    calibration = export.fit_calibration([CLICK], labels, predictions)
    asked = tf.constant([0.0, 0.9, 1.0])
    np.testing.assert_allclose(calibration({"click": asked})["click"], 0.6, rtol=1e-6)


@every_method
def test_unknown_labels_and_rows_without_weight_do_not_count(method):
    labels, predictions, _ = make_rows(1000)
    task = Task("click", mask="seen", sample_weight="importance")
    labels = labels | {"seen": np.ones(1000), "importance": np.ones(1000)}
    labels["click"][:100] = np.nan
    labels["seen"][100:200] = 0
    labels["importance"][200:300] = 0
    found = export.fit_calibration([task], labels, predictions, method)
    labels, predictions = (
        {name: column[300:] for name, column in columns.items()}
        for columns in (labels, predictions)
    )
    expected = export.fit_calibration([CLICK], labels, predictions, method)
    assert found.get_config() == expected.get_config()


@every_method
def test_calibration_survives_json_and_keras(method):
    labels, predictions, _ = make_rows(500)
    calibration = export.fit_calibration([CLICK], labels, predictions, method)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(calibration)))
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == calibration.get_config()


@every_method
def test_export_answers_with_calibrated_probabilities(method, trained, tmp_path):
    labels, predictions, _ = make_rows(500)
    calibration = export.fit_calibration([CLICK], labels, predictions, method)
    folder = export.save(trained.model, tmp_path, calibration=calibration)
    saved = Saved(trained.model, folder)
    predicted = saved.predict(RAW)
    expected = calibration({"click": tf.constant(predicted["click"])})["click"]
    assert np.max(np.abs(expected - predicted["click"])) > 0.01
    for served in (saved.serve_columns(RAW), saved.serve_examples(RAW)):
        np.testing.assert_allclose(served["click"], expected, atol=1e-6)
        np.testing.assert_allclose(
            served["dwell time"], predicted["dwell time"], atol=1e-6
        )
    info = json.loads(pathlib.Path(folder, "assets.extra/model_info.json").read_text())
    assert info["calibration"] == {"method": method, "tasks": calibration.report}


def test_what_cannot_be_calibrated_is_refused(trained, tmp_path):
    labels, predictions, _ = make_rows(50)
    with pytest.raises(ValueError, match="Did you mean 'platt'"):
        export.fit_calibration([CLICK], labels, predictions, "plat")
    with pytest.raises(ValueError, match="must hold a binary task"):
        export.fit_calibration([DWELL], labels, predictions)
    one_sided = {"click": np.array([1.0, *[0.0] * 49])}
    with pytest.raises(ValueError, match="Received: 49 of 0, 1 of 1"):
        export.fit_calibration([CLICK], one_sided, predictions)
    other = export.Calibration("platt", {"like": {"slope": 1.0, "intercept": 0.0}})
    with pytest.raises(ValueError, match="must map binary tasks of the model"):
        export.save(trained.model, tmp_path, calibration=other)
    assert not list(tmp_path.iterdir())
