"""The words of what TFMA found."""

import pytest
from google.protobuf import text_format
from tensorflow_model_analysis.proto import validation_result_pb2

from pipelines.data import evaluation

SLICE = 'slice_key { single_slice_keys { column: "sex" bytes_value: "Male" } }'


def describe(monkeypatch, failure, place="slice_key {}"):
    """The line of a failure of the AUC of clicks, which is 0.5."""
    result = text_format.Parse(
        f"metric_validations_per_slice {{ {place} failures {{ {failure} }} }}",
        validation_result_pb2.ValidationResult(),
    )
    failure = result.metric_validations_per_slice[0].failures[0]
    failure.metric_key.name = "auc"
    failure.metric_key.output_name = "click"
    failure.metric_value.double_value.value = 0.5
    monkeypatch.setattr(
        evaluation.model_eval_lib, "load_validation_result", lambda folder: result
    )
    [title, line] = evaluation.describe_failures("folder").split("\n  ")
    assert title == "the model breaks 1 bounds."
    return line


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ("lower_bound { value: 0.6 }", "at least 0.6000"),
        ("upper_bound { value: 0.4 }", "at most 0.4000"),
        (
            "lower_bound { value: 0.6 } upper_bound { value: 0.7 }",
            "at least 0.6000 and at most 0.7000",
        ),
    ],
)
def test_both_bounds_are_named(monkeypatch, bounds, words):
    failure = f"metric_threshold {{ value_threshold {{ {bounds} }} }}"
    line = describe(monkeypatch, failure)
    assert line == f"auc of click is 0.5000, {words} is needed."


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ("absolute { value: -0.01 } direction: HIGHER_IS_BETTER", "at least -0.0100"),
        ("relative { value: -0.02 } direction: HIGHER_IS_BETTER", "at least -2.00%"),
        ("absolute { value: 0.01 } direction: LOWER_IS_BETTER", "at most +0.0100"),
        (
            "absolute { value: 0 } relative { value: 0.1 } direction: HIGHER_IS_BETTER",
            "at least +0.0000 and at least +10.00%",
        ),
    ],
)
def test_changes_are_named_with_their_direction(monkeypatch, bounds, words):
    failure = (
        "metric_key { is_diff: true } "
        f"metric_threshold {{ change_threshold {{ {bounds} }} }}"
    )
    assert describe(monkeypatch, failure) == (
        f"auc of click changes by +0.5000 from the last blessed model, allowed {words}."
    )


def test_slice_is_named(monkeypatch):
    failure = "metric_threshold { value_threshold { lower_bound { value: 0.6 } } }"
    line = describe(monkeypatch, failure, SLICE)
    assert line.startswith("auc of click in slice sex:Male is 0.5000")


def test_metric_that_was_not_measured_is_named(monkeypatch):
    line = describe(monkeypatch, 'message: "Metric not found."')
    assert line == "auc of click: Metric not found."
