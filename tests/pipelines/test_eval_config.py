import pytest

from tf_mtl import Task
from tf_mtl.integrations import tfx

TASKS = [Task("click", label="clicked"), Task("like", mask="like_known")]


def test_config_names_labels_masks_and_bounds():
    config = tfx.make_eval_config(TASKS, {"click": 0.7}, 0.01, ["country"])
    [model] = config.model_specs
    assert dict(model.label_keys) == {"click": "clicked", "like": "like"}
    assert dict(model.example_weight_keys) == {"like": "like_known"}
    bounds = [
        spec.metrics[0].per_slice_thresholds[0].threshold
        for spec in config.metrics_specs
    ]
    assert [b.value_threshold.lower_bound.value for b in bounds] == [0.7, 0.0]
    assert [b.change_threshold.absolute.value for b in bounds] == [-0.01, -0.01]
    # All examples first: bounds hold there alone.
    assert [list(s.feature_keys) for s in config.slicing_specs] == [[], ["country"]]


def test_bound_of_no_task_is_an_error():
    with pytest.raises(ValueError, match=r"must name tasks.*Received: \['share'\]"):
        tfx.make_eval_config(TASKS, {"share": 0.5}, 0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "regression"}, "must be binary.*'dwell' of kind 'regression'"),
        ({"sample_weight": "w"}, "'dwell' with sample_weight='w'"),
        ({"missing_label": -1.0}, r"missing_label=-1\.0.*Make a mask"),
    ],
)
def test_task_that_would_be_measured_wrongly_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        tfx.make_eval_config([*TASKS, Task("dwell", **options)], {}, 0.01)
