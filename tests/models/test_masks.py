"""Unknown labels, sample weights and absent tasks, from `fit` to the logs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl.tasks import read_targets

from .problem import (
    SHARING,
    TASKS,
    as_tensors,
    assert_same,
    gradients_by_task,
    make_batch,
    make_model,
    make_sgd,
)


def cross_entropy(labels, logits):
    return np.logaddexp(0.0, logits) - labels * logits


def losses_of(model, inputs, labels, weight=None):
    logs = model.evaluate(
        inputs, labels, sample_weight=weight, verbose=0, return_dict=True
    )
    return {task.name: logs[f"{task.name}_loss"] for task in model.tasks}


@pytest.fixture(scope="module")
def model():
    tasks = [
        tf_mtl.Task("nan", label="label"),
        tf_mtl.Task("sentinel", label="marked", missing_label=-1.0),
        tf_mtl.Task("masked", label="label_of_masked", mask="is_known"),
        tf_mtl.Task("weighted", label="label_of_weighted", sample_weight="importance"),
    ]
    model = make_model("shared_bottom", tasks)
    model.compile(make_sgd(), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def batch():
    """Labels of which each task knows some, and what it should see of them."""
    rng = np.random.default_rng(3)
    inputs, _ = make_batch()
    truth = rng.integers(0, 2, 16).astype("float32")
    known = rng.integers(0, 2, 16).astype(bool)
    importance = rng.uniform(0.5, 3, 16).astype("float32")
    labels = {
        "label": np.where(known, truth, np.nan).astype("float32"),
        "marked": np.where(known, truth, -1).astype("float32"),
        # Whatever stands where the mask is 0 must not count, even NaN.
        "label_of_masked": np.where(known, truth, np.nan).astype("float32"),
        "is_known": known,
        "label_of_weighted": np.where(known, truth, np.nan).astype("float32"),
        "importance": importance,
    }
    return inputs, labels, truth, known, importance


@pytest.mark.parametrize("fit_weight", [False, True])
def test_loss_is_the_mean_over_known_labels(model, batch, fit_weight):
    inputs, labels, truth, known, importance = batch
    weight = np.linspace(0.5, 2, 16).astype("float32") if fit_weight else None
    outputs = model(as_tensors(inputs))
    for name, loss in losses_of(model, inputs, labels, weight).items():
        factor = np.ones(16) if weight is None else weight
        if name == "weighted":
            factor = factor * importance
        each = factor * cross_entropy(truth, outputs[name].numpy())
        np.testing.assert_allclose(loss, each[known].sum() / known.sum(), rtol=1e-5)


def test_columns_of_shape_batch_by_one_are_the_same(model, batch):
    inputs, labels, *_ = batch
    columns = {key: value[:, None] for key, value in labels.items()}
    assert losses_of(model, inputs, columns) == losses_of(model, inputs, labels)


def test_metrics_see_known_labels_only(model, batch):
    inputs, labels, truth, known, _ = batch
    logs = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    auc = keras.metrics.AUC(num_thresholds=2000)
    predictions = model.predict(inputs, verbose=0)["nan"]
    auc.update_state(truth[known], predictions[known])
    np.testing.assert_allclose(logs["nan_auc"], auc.result(), rtol=1e-5)


@pytest.mark.parametrize("name", SHARING)
def test_absent_task_has_a_zero_row_and_leaves_the_others(name):
    model = make_model(name)
    model.compile(make_sgd())
    inputs, labels = make_batch()
    full = model.gramian(*as_tensors((inputs, labels))).numpy()
    labels["like"][:] = -1.0
    absent = model.gramian(*as_tensors((inputs, labels))).numpy()
    np.testing.assert_array_equal(absent[1], np.zeros(3))
    np.testing.assert_allclose(
        absent[np.ix_([0, 2], [0, 2])], full[np.ix_([0, 2], [0, 2])], rtol=1e-6
    )
    rows = gradients_by_task(model, *as_tensors((inputs, labels)))
    assert not any(block[1].any() for block in rows)


@pytest.mark.parametrize("aggregator", ["ew", "gradcraft"])
def test_absent_task_trains_the_others_as_if_it_were_not_there(aggregator):
    inputs, labels = make_batch()
    labels["like"][:] = np.nan
    model = make_model("mmoe")
    pair = make_model("mmoe", [TASKS[0], TASKS[2]])
    for source, target in zip(model.weights, pair.weights, strict=True):
        stacked = "tower" in source.path or "gate" in source.path
        target.assign(source.numpy()[[0, 2]] if stacked else source)
    for each in (model, pair):
        each.compile(keras.optimizers.SGD(0.1), aggregator, run_eagerly=True)
        each.fit(inputs, labels, batch_size=16, verbose=0)
    for source, target in zip(model.weights, pair.weights, strict=True):
        stacked = "tower" in source.path or "gate" in source.path
        value = source.numpy()
        assert_same([target], [value[[0, 2]] if stacked else value])


def test_log_of_an_absent_task_is_not_polluted():
    inputs, labels = make_batch(32)
    labels["like"][16:] = np.nan
    model = make_model("shared_bottom")
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.fit(inputs, labels, batch_size=16, shuffle=False, verbose=0).history
    known = tf.nest.map_structure(lambda x: x[:16], (inputs, labels))
    expected = losses_of(model, *known)
    np.testing.assert_allclose(logs["like_loss"][0], expected["like"], rtol=1e-5)


def test_log_of_a_loss_does_not_hold_the_weight_of_its_task():
    inputs, labels = make_batch()
    values = []
    for weight in (1.0, 0.5):
        tasks = [tf_mtl.Task("dwell", kind="regression", weight=weight)]
        model = make_model("shared_bottom", tasks)
        model.compile("sgd", run_eagerly=True)
        values.append(model.evaluate(inputs, labels, verbose=0, return_dict=True))
    assert len({logs["dwell_loss"] for logs in values}) == 1
    np.testing.assert_allclose(values[1]["loss"], 0.5 * values[0]["loss"], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int64", "float64"])
def test_labels_of_any_numeric_dtype(dtype):
    columns = {"click": tf.constant([0, 1, 1], dtype if dtype != "bool" else "int32")}
    columns = {key: tf.cast(value, dtype) for key, value in columns.items()}
    targets = read_targets([tf_mtl.Task("click")], columns)
    assert targets.labels[0].dtype == tf.float32
    np.testing.assert_array_equal(targets.labels[0], [0.0, 1.0, 1.0])
