"""Task: checks, defaults, losses, metrics and what is read from a batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl.tasks import check_tasks, read_targets

LABELS = tf.constant([0.0, 1.0, 1.0])
OUTPUTS = tf.constant([-1.0, 0.5, 30.0])


@keras.saving.register_keras_serializable(package="tests")
def absolute_error(labels, outputs):
    return tf.abs(labels - outputs)


def test_defaults_of_a_binary_task():
    task = tf_mtl.Task("click")
    losses = task.example_losses(LABELS, OUTPUTS)
    x, y = OUTPUTS.numpy(), LABELS.numpy()
    np.testing.assert_allclose(losses, np.logaddexp(0, x) - x * y, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(task.predictions(OUTPUTS), 1 / (1 + np.exp(-x)), 1e-6)
    assert [metric.name for metric in task.make_metrics()] == ["click_auc"]


def test_defaults_of_a_regression():
    task = tf_mtl.Task("dwell", kind="regression")
    losses = task.example_losses(LABELS, OUTPUTS)
    np.testing.assert_allclose(losses, [1.0, 0.25, 841.0], rtol=1e-6)
    np.testing.assert_array_equal(task.predictions(OUTPUTS), OUTPUTS)
    assert [metric.name for metric in task.make_metrics()] == ["dwell_rmse"]


@pytest.mark.parametrize(
    "loss", ["mae", keras.losses.MeanAbsoluteError(), absolute_error]
)
def test_loss_may_be_a_name_an_object_or_a_function(loss):
    task = tf_mtl.Task("dwell", kind="regression", loss=loss)
    losses = task.example_losses(LABELS, OUTPUTS)
    np.testing.assert_allclose(losses, [1.0, 0.5, 29.0], rtol=1e-6)


@pytest.mark.parametrize(
    "loss", ["binary_crossentropy", keras.losses.binary_crossentropy]
)
def test_a_function_that_takes_logits_is_told_of_them(loss):
    losses = tf_mtl.Task("click", loss=loss).example_losses(LABELS, OUTPUTS)
    expected = tf_mtl.Task("click").example_losses(LABELS, OUTPUTS)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss", ["BinaryCrossentropy", "BinaryFocalCrossentropy", "binary_nope"]
)
def test_loss_that_takes_no_logits_or_is_unknown_is_refused(loss):
    with pytest.raises(ValueError, match=r"from_logits=True|binary_nope"):
        tf_mtl.Task("click", loss=loss)


def test_metrics_may_be_names_or_objects():
    given = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.3)
    task = tf_mtl.Task("click", metrics=["auc", "mse", given])
    metrics = task.make_metrics()
    assert [m.name for m in metrics] == [
        "click_auc",
        "click_mean_squared_error",
        "click_accuracy",
    ]
    assert metrics[2] is not given
    assert metrics[2].threshold == 0.3
    metrics[1].update_state(LABELS[:, None], tf.zeros((3, 1)))
    assert float(metrics[1].result()) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "task",
    [
        tf_mtl.Task(
            "a", "regression", "label", "mae", ["mae"], 0.5, "m", -1.0, "w", True
        ),
        tf_mtl.Task("b", loss=keras.losses.BinaryFocalCrossentropy(from_logits=True)),
        tf_mtl.Task("c", loss=absolute_error, metrics=[keras.metrics.AUC(name="auc")]),
    ],
    ids=lambda task: task.name,
)
def test_config_round_trip(task):
    config = keras.saving.serialize_keras_object(task)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == task.get_config()
    np.testing.assert_array_equal(
        clone.example_losses(LABELS, OUTPUTS), task.example_losses(LABELS, OUTPUTS)
    )
    assert [m.name for m in clone.make_metrics()] == [
        m.name for m in task.make_metrics()
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "`name` must be a non-empty string"),
        ({"name": "a", "kind": "binry"}, r"`kind` of task 'a'.*'binry'"),
        ({"name": "a", "weight": -1.0}, "`weight` of task 'a'.*-1.0"),
        ({"name": "a", "weight": float("nan")}, "`weight` of task 'a'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        tf_mtl.Task(**arguments)


def test_names_must_be_unique():
    with pytest.raises(ValueError, match=r"unique names.*repeated: \['a'\]"):
        check_tasks([tf_mtl.Task("a"), tf_mtl.Task("b"), tf_mtl.Task("a")])


def test_there_must_be_tasks():
    with pytest.raises(ValueError, match="non-empty"):
        check_tasks([])
    with pytest.raises(TypeError, match="'click'"):
        check_tasks(["click"])


def test_targets_are_zero_where_unknown():
    task = tf_mtl.Task(
        "click", missing_label=-1.0, mask="seen", sample_weight="importance"
    )
    columns = {
        "click": tf.constant([1.0, np.nan, -1.0, 1.0, 1.0, 0.0]),
        "seen": tf.constant([1.0, 1.0, 1.0, 0.0, np.nan, 1.0]),
        "importance": tf.constant([[2.0], [2.0], [2.0], [2.0], [2.0], [3.0]]),
    }
    factors = tf.constant([1.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    targets = read_targets([task], columns, factors)
    known = [True, False, False, False, False, True]
    assert targets.labels[0].numpy().tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert targets.known[0].numpy().tolist() == known
    assert targets.weights[0].numpy().tolist() == [2.0, 0.0, 0.0, 0.0, 0.0, 1.5]


def test_sample_weight_may_come_once_for_each_label_column():
    tasks = [tf_mtl.Task("click"), tf_mtl.Task("like", label="liked")]
    weights = {"click": tf.constant([1.0, 2.0, 3.0]), "liked": tf.ones(3)}
    targets = read_targets(tasks, {"click": LABELS, "liked": LABELS}, weights)
    assert targets.weights[0].numpy().tolist() == [1.0, 2.0, 3.0]
    assert targets.weights[1].numpy().tolist() == [1.0, 1.0, 1.0]


def test_missing_columns_are_named():
    tasks = [tf_mtl.Task("click", sample_weight="importance")]
    with pytest.raises(ValueError, match=r"'importance'.*columns: \['click', 'x'\]"):
        read_targets(tasks, {"click": LABELS, "x": LABELS})
    with pytest.raises(ValueError, match="dict of columns"):
        read_targets([*tasks, tf_mtl.Task("like")], LABELS)
    with pytest.raises(ValueError, match="NoneType"):
        read_targets(tasks, None)


def test_labels_must_be_numeric():
    with pytest.raises(TypeError, match="'click'.*string"):
        read_targets([tf_mtl.Task("click")], {"click": tf.constant(["yes"])})
