"""Scores: what a formula may hold, what it gives, and its weights in requests."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import Task, export, models
from tf_mtl.export import Score
from tf_mtl.features import Numeric

from .conftest import RAW, Saved, to_examples

PREDICTIONS = {"click": np.float32([0.5, 0.25]), "dwell time": np.float32([3.0, 8.0])}


def compute(score, weights=None):
    return score(PREDICTIONS, weights).numpy().tolist()


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("click", [0.5, 0.25]),
        ("click * dwell_time", [1.5, 2.0]),
        ("2 * click + dwell_time / 4 - 1", [0.75, 1.5]),
        ("-(click - 1) ** 2", [-0.25, -0.5625]),
        ("+click ** -1", [2.0, 4.0]),
        ("min(click, 0.3, dwell_time)", [0.3, 0.25]),
        ("max(click, 0.3)", [0.5, 0.3]),
        ("sqrt(1 + dwell_time)", [2.0, 3.0]),
        ("log(exp(dwell_time))", [3.0, 8.0]),
        ("1e-3 * click", [0.0005, 0.00025]),
    ],
)
def test_formula_is_computed_as_in_python(formula, expected):
    assert compute(Score(formula)) == pytest.approx(expected, rel=1e-6)


def test_weighted_sum_and_product_by_hand():
    weights = {"click": 2.0, "dwell time": 0.5}
    assert compute(Score.weighted_sum(weights)) == pytest.approx([2.5, 4.5])
    expected = [0.25 * 3**0.5, 0.0625 * 8**0.5]
    assert compute(Score.weighted_product(weights)) == pytest.approx(expected)


def test_weights_may_be_replaced_for_all_rows_or_each():
    score = Score("a * click + b", {"a": 1.0, "b": 0.0})
    assert compute(score) == [0.5, 0.25]
    one = {"a": np.float32([4.0]), "b": np.float32([1.0])}
    assert compute(score, one) == [3.0, 2.0]
    each = {"a": np.float32([4.0, 8.0]), "b": np.float32([0.0, 1.0])}
    assert compute(score, each) == [2.0, 3.0]


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os')",
        "click.real",
        "click[0]",
        "'click'",
        "True * click",
        "1j * click",
        "1e39 * click",
        "click if click else 0",
        "click < 1",
        "click // 2",
        "click % 2",
        "~click",
        "(lambda: click)()",
        "[click for click in click]",
        "{click}",
        "log(click, 2)",
        "log()",
        "min(click)",
        "min(*click, 1)",
        "log(x=click)",
        "pow(click, 2)",
        "log",
        "log + click",
        "(a := click)",
        "f'{click}'",
    ],
)
def test_anything_else_is_refused(formula):
    with pytest.raises(ValueError, match="`formula` may hold names, numbers"):
        Score(formula)


@pytest.mark.parametrize("formula", ["", "click *", "click; click", "a = click"])
def test_what_is_no_expression_is_refused(formula):
    with pytest.raises(ValueError, match="`formula` must be an expression"):
        Score(formula)


def test_wrong_weights_are_refused():
    with pytest.raises(ValueError, match=r"`weights` must be finite.*nan"):
        Score("a * click", {"a": float("nan")})
    with pytest.raises(ValueError, match=r"must be one of \['a', 'click'\].*'b'"):
        Score("a * click", {"b": 1.0})


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (Score("clik * 2"), "Did you mean 'click'"),
        (Score("1 + 2"), "must depend on a task"),
        (Score("a + 1", {"a": 1.0}), "must depend on a task"),
        (Score("click", {"click": 1.0}), "mean one thing"),
    ],
)
def test_formula_must_fit_the_tasks(score, message, trained, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.save(trained.model, tmp_path, score=score)
    assert not list(tmp_path.iterdir())


def test_tasks_that_are_written_alike_or_called_score_are_refused():
    with pytest.raises(ValueError, match="mean one thing"):
        Score("a_b").check_tasks(["a b", "a_b"])
    with pytest.raises(ValueError, match="Rename the task"):
        Score("click").check_tasks(["click", "score"])


def test_score_survives_json_and_keras():
    score = Score.weighted_sum({"click": 1.0, "dwell time": 2.0})
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(score)))
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == score.get_config()


def test_export_answers_with_a_score(trained, tmp_path):
    folder = export.save(trained.model, tmp_path, score="click * (1 + dwell_time)")
    saved = Saved(trained.model, folder)
    assert sorted(saved.loaded.signatures) == ["serve_examples", "serving_default"]
    predicted = saved.predict(RAW)
    expected = predicted["click"] * (1 + predicted["dwell time"])
    for served in (saved.serve_columns(RAW), saved.serve_examples(RAW)):
        assert set(served) == {*predicted, "score"}
        np.testing.assert_allclose(served["score"], expected, rtol=1e-5)


def test_requests_may_bring_weights(trained, tmp_path):
    score = Score.weighted_sum({"click": 1.0, "dwell time": 2.0})
    calibration = export.Calibration(
        "platt", {"click": {"slope": 0.5, "intercept": -1.0}}
    )
    folder = export.save(trained.model, tmp_path, calibration=calibration, score=score)
    saved = Saved(trained.model, folder)
    answer = saved.serve_columns(RAW)
    # The score is that of the calibrated click.
    expected = answer["click"] + 2 * answer["dwell time"]
    np.testing.assert_allclose(answer["score"], expected, rtol=1e-5)
    weights = {"w_click": tf.constant([3.0]), "w_dwell_time": tf.range(4.0)}
    raw = {
        name: tf.constant(RAW[name], spec.dtype)
        for name, spec in saved.model.features.raw_signature().items()
    }
    signatures = saved.loaded.signatures
    by_columns = signatures["serving_default_weighted"](**raw, **weights)
    examples = tf.constant(to_examples(RAW))
    by_examples = signatures["serve_examples_weighted"](examples=examples, **weights)
    expected = 3 * answer["click"] + tf.range(4.0) * answer["dwell time"]
    for weighted in (by_columns, by_examples):
        np.testing.assert_allclose(weighted["score"], expected, rtol=1e-5)
        np.testing.assert_allclose(weighted["click"], answer["click"], rtol=1e-6)
    info = json.loads(pathlib.Path(folder, "assets.extra/model_info.json").read_text())
    assert Score(**info["score"]).get_config() == score.get_config()


def test_weight_with_the_name_of_a_column_is_refused(tmp_path):
    features = [Numeric("a", normalization=None, default=0.0)]
    model = models.SharedBottom(features, [Task("click")], bottom_units=(2,))
    with pytest.raises(ValueError, match=r"Received: \['a', 'a'\].*weights of the sc"):
        export.save(model, tmp_path, score=Score("a * click", {"a": 1.0}))
