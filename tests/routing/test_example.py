"""The architecture of `docs/routing.md` runs, and routes."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import problem
from tf_mtl.tasks import read_targets

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "routing.md"
TASKS = problem.TASKS[:2]
RATE = 0.1


@pytest.fixture(scope="module")
def page():
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace = {"__name__": "routing_page"}
    exec(compile(code, PAGE.name, "exec"), namespace)
    return namespace


@pytest.fixture
def model(page):
    keras.utils.set_random_seed(0)
    return page["OneLayerMore"](problem.FEATURES, TASKS, (8, 4), (3,))


def reference(model, inputs, labels):
    """Gradients with what is routed, from a tape for each task."""
    variables = [v.value for v in model.trainable_variables]
    targets = read_targets(TASKS, labels)
    with tf.GradientTape(persistent=True) as tape:
        read = model.task_inputs(model.representations(inputs, True), True)
        losses = model._task_losses(tf.unstack(model.towers(read, True)), targets)
    at_towers = tf.add_n([tape.gradient(loss, read) for loss in losses])
    routed = model.router(at_towers, 1).gradients - at_towers
    assert np.any(routed)
    plain = tape.gradient(losses, variables)
    extra = tape.gradient(read, variables, output_gradients=routed)
    return [
        problem.dense(g, v) + problem.dense(e, v)
        for g, e, v in zip(plain, extra, variables, strict=True)
    ]


def test_step_takes_what_is_routed(model):
    batch = problem.as_tensors(problem.make_batch())
    expected = reference(model, *batch)
    before = [v.numpy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
    model.train_on_batch(*batch)
    for v, old, gradient in zip(
        model.trainable_variables, before, expected, strict=True
    ):
        np.testing.assert_allclose(
            (old - v.numpy()) / RATE, gradient, rtol=1e-4, atol=1e-5, err_msg=v.path
        )
    assert np.all(model.updater.branch_weights() != 0.5)


def test_it_trains_with_an_aggregator(model, page):
    groups = {
        path.split("/")[1]: sets for path, sets in model.variable_groups().items()
    }
    click, like = (frozenset([task.name]) for task in TASKS)
    assert groups["own"] == (click,)
    assert groups["tower"] == (click, click, like)
    assert groups["bottom"] == (click | like,)
    model.compile(page["optimizers"].LazyAdam(0.02), "gradcraft", jit_compile=False)
    losses = model.fit(problem.make_dataset(), epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
