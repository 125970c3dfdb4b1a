import numpy as np
import pytest

from tf_mtl import Task, metrics


def test_auc_and_log_loss_by_hand():
    labels = {"click": [1.0, 0.0, 1.0, 0.0]}
    predictions = {"click": [[0.8], [0.5], [0.5], [0.2]]}
    found = metrics.evaluate_predictions([Task("click")], labels, predictions)["click"]
    # Of four pairs three are in order and one is a tie.
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["log_loss"] == pytest.approx(-np.log(0.8 * 0.5 * 0.5 * 0.8) / 4)
    assert found["num_known"] == 4


def test_unknown_labels_do_not_count():
    task = Task("click", mask="seen")
    labels = {"click": [1.0, 0.0, 0.0], "seen": [1.0, 1.0, 0.0]}
    found = metrics.evaluate_predictions([task], labels, {"click": [0.6, 0.4, 0.9]})
    assert found["click"]["auc"] == 1.0
    assert found["click"]["num_known"] == 2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([1.0, 1.0], "all known labels are 1"), ([np.nan] * 2, "no label is known")],
)
def test_auc_that_does_not_exist_is_none_with_a_reason(labels, reason):
    found = metrics.evaluate_predictions(
        [Task("click")], {"click": labels}, {"click": [0.5, 0.6]}
    )
    assert found["click"]["auc"] is None
    assert found["click"]["reason"] == reason


def test_certain_and_wrong_predictions_have_a_finite_log_loss():
    found = metrics.evaluate_predictions(
        [Task("click")], {"click": [1.0, 0.0]}, {"click": np.float32([0.0, 1.0])}
    )
    assert found["click"]["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-3)


def test_regression_has_a_weighted_rmse():
    task = Task("watch", "regression", sample_weight="w")
    labels = {"watch": [1.0, 5.0], "w": [3.0, 1.0]}
    found = metrics.evaluate_predictions([task], labels, {"watch": [1.0, 3.0]})
    assert found["watch"]["rmse"] == pytest.approx(1.0)


def test_missing_predictions_are_named():
    with pytest.raises(ValueError, match="missing: 'click'"):
        metrics.evaluate_predictions([Task("click")], {"click": [1.0]}, {"like": [1.0]})
    with pytest.raises(ValueError, match="2 predictions, 1 labels"):
        metrics.evaluate_predictions(
            [Task("click")], {"click": [1.0]}, {"click": [1.0, 0.0]}
        )
