"""AITM: transfers, calibrator and who reaches what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import models

from . import problem

STEPS = [tf_mtl.Task(name) for name in ("click", "apply", "approve")]


def make_aitm(tasks=STEPS, seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    return models.AITM(problem.FEATURES, tasks, bottom_units=(6, 4), **kwargs)


@pytest.fixture(scope="module")
def batch():
    inputs, labels = problem.make_batch()
    steps = [labels["click"], labels["click"] * labels["like"]]
    steps.append(steps[-1] * (inputs["user"] > 4))
    names = [task.name for task in STEPS]
    return problem.as_tensors((inputs, dict(zip(names, steps, strict=True))))


def slow_outputs(model, inputs):
    """The equations of the paper, task by task, in NumPy."""
    embedded = model.embed(inputs, training=False).numpy().astype("float64")
    vectors, logits = [], []
    for task in range(len(model.tasks)):
        own = embedded
        for layer in model.bottom.dense:
            own = own @ layer.kernel.numpy()[task] + layer.bias.numpy()[task]
            own = np.maximum(own, 0)
        if task:
            transfer = model.transfers[task - 1]
            hint = vectors[-1] @ transfer.hint.kernel.numpy()
            hint = np.maximum(hint + transfer.hint.bias.numpy(), 0)
            scores, values = [], []
            for vector in (own, hint):
                q, k, v = (vector @ w for w in transfer.projections.kernel.numpy())
                scores.append(np.sum(q * k, axis=1) / np.sqrt(own.shape[1]))
                values.append(v)
            weights = np.exp(scores) / np.exp(scores).sum(axis=0)
            own = np.einsum("ub,ubk->bk", weights, values)
        vectors.append(own)
        kernel, bias = model.tower.kernel.numpy(), model.tower.bias.numpy()
        logits.append((own @ kernel[task] + bias[task])[:, 0])
    return logits


def test_outputs_are_those_of_the_slow_reference(batch):
    model = make_aitm()
    expected = slow_outputs(model, batch[0])
    for output, reference in zip(model(batch[0]).values(), expected, strict=True):
        np.testing.assert_allclose(output, reference, rtol=1e-4, atol=1e-6)


def test_transitions_have_weights_of_their_own_and_a_relu_in_the_hint(batch):
    first, second = make_aitm().transfers
    for mine, other in zip(first.weights, second.weights, strict=True):
        assert mine is not other
    kernels = [t.projections.kernel.numpy() for t in (first, second)]
    slices = [k for kernel in kernels for k in kernel]
    assert len({k.tobytes() for k in slices}) == 6
    assert first.hint.activation is keras.activations.relu


def test_bottoms_differ_at_the_start_and_have_the_spread_of_a_dense_layer():
    ids = [tf_mtl.features.IntegerRange("id", num_values=9, embedding_dim=200)]
    kernel = models.AITM(ids, STEPS, bottom_units=(300,)).bottom.dense[0].kernel.numpy()
    assert not np.array_equal(kernel[0], kernel[1])
    spread = np.sqrt(2.0 / (200 + 300))
    np.testing.assert_allclose(kernel.std(axis=(1, 2)), spread, rtol=0.05)


def reaching(model, batch):
    """For each part, the tasks with a non-zero gradient, by slice of a stack."""
    rows = problem.gradients_by_task(model, *batch)
    found = {}
    for variable, row in zip(model.trainable_variables, rows, strict=True):
        _, part, *_ = variable.path.split("/")
        by_slice = row if part in ("bottom", "tower") else row[:, None]
        by_slice = by_slice.reshape(*by_slice.shape[:2], -1)
        found.setdefault(part, np.zeros(by_slice.shape[:2], bool))
        found[part] |= np.any(by_slice != 0, axis=-1)
    return {
        part: [set(np.flatnonzero(column)) for column in by_task.T]
        for part, by_task in found.items()
        if part != "embedding"
    }


def test_loss_of_a_task_reaches_all_tasks_before_it(batch):
    assert reaching(make_aitm(calibrator_weight=0.0), batch) == {
        "bottom": [{0, 1, 2}, {1, 2}, {2}],
        "transfer_1": [{1, 2}],
        "transfer_2": [{2}],
        "tower": [{0}, {1}, {2}],
    }


def test_stopped_gradient_reaches_no_other_task(batch):
    model = make_aitm(calibrator_weight=0.0, stop_gradient=True)
    assert reaching(model, batch) == {
        "bottom": [{0}, {1}, {2}],
        "transfer_1": [{1}],
        "transfer_2": [{2}],
        "tower": [{0}, {1}, {2}],
    }
    assert {v.path.split("/")[1] for v in model.shared_variables()} == {"embedding"}
    expected = make_aitm()(batch[0])
    for name, output in model(batch[0]).items():
        np.testing.assert_array_equal(output, expected[name])


def excess(model, inputs):
    click, apply, approve = (
        1 / (1 + np.exp(-np.float64(a))) for a in model(inputs).values()
    )
    return np.maximum(apply - click, 0) + np.maximum(approve - apply, 0)


def test_calibrator_is_a_penalty_after_the_aggregation(batch):
    """The update of SGD is that of the tasks, plus the gradient of the calibrator."""
    inputs, labels = batch
    updates = {}
    for weight in (0.0, 0.6):
        model = make_aitm(calibrator_weight=weight)
        before = [v.numpy() for v in model.trainable_variables]
        # Far apart, so that the largest weight of a task stays what it is.
        model.compile(keras.optimizers.SGD(1.0), "gradcraft", run_eagerly=True)
        model.train_on_batch(inputs, labels)
        after = [v.numpy() for v in model.trainable_variables]
        updates[weight] = [a - b for a, b in zip(after, before, strict=True)]
    model = make_aitm()
    assert excess(model, inputs).mean() > 0.01
    with tf.GradientTape() as tape:
        click, apply, approve = (tf.sigmoid(a) for a in model(inputs).values())
        loss = tf.nn.relu(apply - click) + tf.nn.relu(approve - apply)
        loss = 0.6 * tf.reduce_mean(loss)
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for plain, full, gradient, variable in zip(
        updates[0.0], updates[0.6], found, model.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(
            full - plain, -problem.dense(gradient, variable), rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("surface", ["parameters", "representation"])
def test_calibrator_compiles(surface, batch):
    runs = []
    for mode in ({"run_eagerly": True}, {"jit_compile": True}):
        model = make_aitm()
        model.compile(problem.make_sgd(), "gradcraft", surface, **mode)
        for _ in range(2):
            model.train_on_batch(*batch)
        runs.append(model.get_weights())
    problem.assert_same(*runs, rtol=1e-4, atol=1e-5)


def test_calibrator_brings_later_steps_below_earlier_ones(batch):
    inputs, _ = batch
    model = make_aitm(calibrator_weight=5.0)
    # No label is known: the calibrator alone moves the weights.
    unknown = {task.name: tf.fill([problem.ROWS], np.nan) for task in STEPS}
    model.compile(keras.optimizers.Adam(0.01), "ew", jit_compile=False)
    before = excess(model, inputs).mean()
    model.fit(tf.data.Dataset.from_tensors((inputs, unknown)).repeat(30), verbose=0)
    assert excess(model, inputs).mean() < 0.1 * before


def test_calibrator_skips_neighbours_without_a_probability(batch):
    inputs, _ = batch
    tasks = [STEPS[0], tf_mtl.Task("dwell", kind="regression"), STEPS[2], STEPS[1]]
    model = make_aitm(tasks)
    model.task_outputs(inputs, training=True)
    [loss] = model.losses
    probabilities = model.predictions(inputs)
    rise = np.maximum(probabilities["apply"] - probabilities["approve"], 0)
    np.testing.assert_allclose(loss, 0.6 * rise.mean(), rtol=1e-5)
    model.task_outputs(inputs, training=True)
    assert len(model.losses) == 1


@pytest.mark.parametrize("rows", [1, 16])
def test_serving_is_deterministic(rows):
    model = make_aitm(dropout=0.5)
    inputs, _ = problem.as_tensors(problem.make_batch(rows))
    first, second = model.predictions(inputs), model.predictions(inputs)
    for name, value in first.items():
        assert value.shape == (rows,)
        np.testing.assert_array_equal(value, second[name])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`weight` must be at least 0"):
        make_aitm(calibrator_weight=-0.1)
    with pytest.raises(ValueError, match="`units` must not be empty"):
        models.AITM(problem.FEATURES, STEPS, bottom_units=())
