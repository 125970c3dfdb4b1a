"""Cross-stitch networks against a slow reference, and their cut."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import models
from tf_mtl.tasks import read_targets

from .plain import perceptron
from .problem import FEATURES, TASKS, WIDTHS, as_tensors, flat_gramian, make_batch

every_width = pytest.mark.parametrize("per_channel", [False, True])


def make(seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    own = {"stitched_units": WIDTHS, "tower_units": (3,)}
    return models.CrossStitch(FEATURES, TASKS, **{**own, **kwargs})


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def reference(model, inputs):
    """Raw outputs, by the equations of the paper: a loop over tasks."""
    tasks = range(len(TASKS))
    streams = [model.embed(inputs, training=False).numpy()] * len(TASKS)
    for layer, stitch in zip(model.layer, model.stitch, strict=True):
        outputs = [perceptron(layer, t, streams[t]) for t in tasks]
        kernel = stitch.kernel.numpy()
        streams = [sum(kernel[t, j] * outputs[j] for j in tasks) for t in tasks]
    return [perceptron(model.tower, t, streams[t])[:, 0] for t in tasks]


@every_width
def test_outputs_are_those_of_the_equations(per_channel, batch):
    model = make(per_channel=per_channel)
    rng = np.random.default_rng(0)
    for stitch in model.stitch:
        stitch.kernel.assign(rng.normal(size=stitch.kernel.shape))
    actual = model.task_outputs(batch[0], training=False)
    expected = reference(model, batch[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@every_width
def test_gramian_is_that_of_the_cotangents(per_channel, batch):
    model = make(per_channel=per_channel, diagonal=0.6)
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    shared = model.representations(inputs, training=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shared)
        read = model.task_inputs(shared, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), targets)
    rows = np.stack([tape.gradient(loss, shared["layers"]) for loss in losses])
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian([rows]),
        rtol=1e-4,
    )


def test_rows_of_stitches_add_up_to_1_and_differ_by_task():
    for stitch in make().stitch:
        kernel = stitch.kernel.numpy()[..., 0]
        np.testing.assert_allclose(kernel.sum(axis=1), 1.0, rtol=1e-6)
        np.testing.assert_allclose(np.diag(kernel), 0.9, rtol=1e-6)
        assert len(np.unique(kernel, axis=0)) == len(TASKS)


def test_networks_start_apart():
    kernel = make().layer[0].dense[0].kernel.numpy()
    assert len(np.unique(kernel.reshape(len(kernel), -1), axis=0)) == len(TASKS)
    assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape[1:]))


@pytest.mark.parametrize("layer", [0, 1])
def test_layers_below_a_stitch_reach_every_task(layer, batch):
    model = make()
    before = np.stack(model.task_outputs(batch[0], training=False))
    bias = model.layer[layer].dense[0].bias
    bias.assign(bias.numpy() + np.array([0, 1, 0], "float32")[:, None, None])
    after = np.stack(model.task_outputs(batch[0], training=False))
    assert np.all(np.any(before != after, axis=1))


def test_rows_of_the_last_stitch_are_of_their_task_alone(batch):
    model = make()
    before = np.stack(model.task_outputs(batch[0], training=False))
    kernel = model.stitch[-1].kernel
    kernel.assign(kernel.numpy() * np.array([1, 2, 1], "float32")[:, None, None])
    after = np.stack(model.task_outputs(batch[0], training=False))
    assert list(np.any(before != after, axis=1)) == [False, True, False]


def test_one_row_is_served_as_in_a_batch(batch):
    model = make(dropout=0.5)
    row = {name: tensor[:1] for name, tensor in batch[0].items()}
    whole = np.stack(model.task_outputs(batch[0], training=False))
    np.testing.assert_array_equal(model.task_outputs(batch[0], training=False), whole)
    alone = np.stack(model.task_outputs(row, training=False))
    # Products of one row and of many may add up in another order.
    np.testing.assert_allclose(alone, whole[:, :1], rtol=1e-5, atol=1e-6)


def test_name_and_config():
    assert models.get("cross_stitch") is models.CrossStitch
    model = make(diagonal=0.8, per_channel=True, dropout=0.1)
    clone = models.CrossStitch.from_config(model.get_config())
    assert clone.get_config() == model.get_config()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"stitched_units": ()}, "`stitched_units` must hold the width"),
        ({"diagonal": 0.0}, r"`diagonal` must be in \(0, 1\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)
