"""Tasks that meet above the representations: rows, weights and optimizers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators, models
from tf_mtl.models import weight_reuse
from tf_mtl.optimizers import AdaTask
from tf_mtl.tasks import read_targets

from . import problem

NAMES = ["aitm", "chain", "esmm", "meta_heac"]


@pytest.fixture(scope="module")
def batch():
    return problem.as_tensors(problem.make_batch())


@pytest.mark.parametrize("name", NAMES)
def test_gramian_on_the_representation_surface_is_that_of_the_cotangents(name, batch):
    model = problem.make_model(name)
    model.compile("sgd")
    inputs, labels = batch
    targets = read_targets(model.tasks, labels)
    with tf.GradientTape(persistent=True) as tape:
        shared = model.representations(inputs, training=False)
        # What gates read reaches the experts too: count that at the experts alone.
        shared = {name: tf.identity(tensor.numpy()) for name, tensor in shared.items()}
        tape.watch(shared)
        outputs = tf.unstack(model.towers(model.task_inputs(shared, False), False))
        losses = model._task_losses(outputs, targets)
    pieces = [
        np.stack([tape.gradient(loss, tensor) for loss in losses])
        for tensor in shared.values()
    ]
    seen = []

    def weigh(gramian):
        seen.append(gramian)
        return tf.ones([3])

    model.representation_backward(
        inputs, lambda out: model._task_losses(out, targets), weigh
    )
    np.testing.assert_allclose(seen[0], problem.flat_gramian(pieces), rtol=1e-4)


def test_regularisation_takes_no_way_through_the_representation(batch):
    model = problem.make_model("esmm")
    bias = model.model.tower.dense[0].bias
    bias.assign(tf.ones_like(bias))
    bias.regularizer = keras.regularizers.L2(0.5)
    model.compile("sgd")
    targets = read_targets(model.tasks, batch[1])
    found = model.representation_backward(
        batch[0], lambda out: model._task_losses(out, targets), lambda _: tf.ones([3])
    )
    for variable, penalty in zip(model.trainable_variables, found.penalty, strict=True):
        expected = np.full(variable.shape, float(variable is bias))
        np.testing.assert_allclose(problem.dense(penalty, variable), expected)


@pytest.mark.parametrize("name", NAMES)
def test_gramian_does_not_depend_on_the_optimizer(name, batch):
    gramians = []
    for optimizer in ("sgd", AdaTask()):
        model = problem.make_model(name)
        model.compile(optimizer)
        gramians.append(model.gramian(*batch))
    np.testing.assert_array_equal(*gramians)


def test_rows_of_a_stack_say_which_tasks_meet_there(batch):
    model = problem.make_model("esmm")
    targets = read_targets(model.tasks, batch[1])
    _, rows = model.task_gradients(
        batch[0], lambda out: model._task_losses(out, targets)
    )
    stacked = model.model.tower.dense[0].kernel.value
    [block] = [block for block in rows.blocks if block.variable is stacked]
    # Click and like meet in the tower of click; dwell meets nobody.
    assert block.reached == (True, True, False)
    assert np.any(block.rows != 0, axis=(2, 3)).tolist() == [
        [True, False, False],
        [True, False, False],
        [False, False, False],
    ]


@pytest.mark.parametrize("name", ["aitm", "esmm"])
def test_reused_weights_give_what_exact_rows_give(name, monkeypatch):
    runs = []
    for reuses in (True, False):
        model = problem.make_model(name)
        aggregator = aggregators.get("gradcraft", update_every=2)
        model.compile(problem.make_sgd(), aggregator, jit_compile=False)
        assert weight_reuse.reuses_weights(model)
        if not reuses:
            monkeypatch.setattr(weight_reuse, "reuses_weights", lambda model: False)
        model.fit(problem.make_dataset(3), verbose=0)
        runs.append(model.variables)
    problem.assert_same(*runs)


@pytest.mark.parametrize(
    "sets",
    [
        # Two sets for three slices; a task too many, which does not exist.
        (frozenset([0]), frozenset([1])),
        (frozenset([0]), frozenset([1]), frozenset([2, 3])),
    ],
)
def test_task_sets_that_do_not_fit_are_refused(sets):
    class Wrong(models.AITM):
        def task_sets(self, variable):
            return sets if "tower" in variable.path else super().task_sets(variable)

    with pytest.raises(ValueError, match="`task_sets` of Wrong must give"):
        Wrong(problem.FEATURES, problem.TASKS, bottom_units=(4,))


def test_routing_between_towers_that_meet_is_refused(batch):
    model = problem.make_model("aitm")
    model.route_fn = lambda present, scale: lambda *gradients: gradients
    model.compile("sgd", "gradcraft", run_eagerly=True)
    with pytest.raises(ValueError, match="`route_fn` of AITM must give None"):
        model.train_on_batch(*batch)
