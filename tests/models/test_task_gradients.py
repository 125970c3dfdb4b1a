"""Rows, Gramians and weighted sums against a tape for each task."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.tasks import read_targets

from .problem import (
    ARCHITECTURES,
    SHARING,
    TASKS,
    as_tensors,
    assert_same,
    dense,
    flat_gramian,
    gradients_by_task,
    is_shared,
    make_batch,
    make_model,
)

# Sums over a batch in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(params=sorted(ARCHITECTURES), scope="module")
def model(request):
    return make_model(request.param)


@pytest.fixture(params=SHARING, scope="module")
def sharing_model(request):
    model = make_model(request.param)
    model.compile("sgd")
    return model


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def backward(model, inputs, labels):
    targets = read_targets(model.tasks, labels)
    return model.task_gradients(inputs, lambda out: model._task_losses(out, targets))


def dense_rows(block):
    """Rows of a block as an array `(num_tasks, *shape of the variable)`."""
    if block.ids is None:
        return block.rows.numpy()
    return np.stack([dense(block.gradient(row), block.variable) for row in block.rows])


def test_each_row_is_the_gradient_of_that_loss_alone(model, batch):
    plain, rows = backward(model, *batch)
    by_id = {id(block.variable): dense_rows(block) for block in rows.blocks}
    expected = gradients_by_task(model, *batch)
    for variable, own, reference, shared in zip(
        model.trainable_variables, plain, expected, is_shared(model), strict=True
    ):
        assert (own is None) == shared.all()
        assert (id(variable.value) in by_id) == shared.any()
        pairs = [(dense(own, variable), np.where(shared, 0, reference.sum(axis=0)))]
        if shared.any():
            pairs.append((by_id[id(variable.value)], np.where(shared, reference, 0)))
        for actual, wanted in pairs:
            np.testing.assert_allclose(
                actual, wanted, **TOLERANCE, err_msg=variable.path
            )


def test_sum_of_rows_is_the_gradient_of_the_summed_loss(sharing_model, batch):
    _, rows = backward(sharing_model, *batch)
    summed = rows.weighted_sum(tf.ones([3]))
    targets = read_targets(TASKS, batch[1])
    variables = [block.variable for block in rows.blocks]
    with tf.GradientTape() as tape:
        outputs = sharing_model.task_outputs(batch[0], training=False)
        loss = tf.add_n(sharing_model._task_losses(outputs, targets))
    expected = tape.gradient(loss, variables)
    masks = [shared for shared in is_shared(sharing_model) if shared.any()]
    for actual, reference, variable, shared in zip(
        summed, expected, variables, masks, strict=True
    ):
        assert isinstance(actual, tf.IndexedSlices) == isinstance(
            reference, tf.IndexedSlices
        )
        np.testing.assert_allclose(
            dense(actual, variable),
            np.where(shared, dense(reference, variable), 0),
            **TOLERANCE,
        )


def test_tables_give_sparse_blocks_without_repeated_ids(sharing_model, batch):
    _, rows = backward(sharing_model, *batch)
    tables = {b.variable.shape[0]: b for b in rows.blocks if b.ids is not None}
    assert sorted(tables) == [7, 11]
    for block in tables.values():
        ids = block.ids.numpy()
        padding = ~gradients.first_of_run(block.ids).numpy()
        assert np.all(np.diff(ids) >= 0)
        assert padding.any()
        assert not block.rows.numpy()[:, padding].any()
    looked_up = {i for n in ("item", "history") for i in batch[0][n].numpy().ravel()}
    assert set(tables[7].ids.numpy()) == looked_up


def test_gramian_is_that_of_the_flattened_jacobian(sharing_model, batch):
    rows = gradients_by_task(sharing_model, *batch)
    shared = [r * s for r, s in zip(rows, is_shared(sharing_model), strict=True)]
    np.testing.assert_allclose(
        sharing_model.gramian(*batch), flat_gramian(shared), rtol=1e-4
    )


def test_gramian_of_a_model_without_shared_variables_is_zero(batch):
    model = make_model("single_task")
    model.compile("sgd", "gradcraft")
    np.testing.assert_array_equal(model.gramian(*batch), np.zeros((3, 3)))


@pytest.mark.parametrize("name", ["mmoe", "omoe", "shared_bottom"])
def test_representation_gramian_is_that_of_the_cotangents(name, batch):
    model = make_model(name)
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    with tf.GradientTape(persistent=True) as tape:
        shared = model.representations(inputs, training=False)
        tape.watch(shared)
        read = model.task_inputs(shared, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), targets)
    [representation] = [v for k, v in shared.items() if k != "gate"]
    rows = np.stack([tape.gradient(loss, representation) for loss in losses])
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian([rows]),
        rtol=1e-4,
    )


@pytest.mark.parametrize("name", SHARING)
def test_representation_backward_weights_the_shared_variables_only(name, batch):
    model = make_model(name)
    model.compile("sgd")
    weights = np.array([0.5, 2.0, 3.0], "float32")
    targets = read_targets(TASKS, batch[1])
    seen = []

    def weigh(gramian):
        seen.append(gramian)
        return tf.constant(weights)

    found = model.representation_backward(
        batch[0], lambda out: model._task_losses(out, targets), weigh
    )
    for variable, plain, combined, rows, shared in zip(
        model.trainable_variables,
        found.plain,
        found.shared,
        gradients_by_task(model, *batch),
        is_shared(model),
        strict=True,
    ):
        weighted = np.tensordot(weights, rows, 1)
        np.testing.assert_allclose(
            dense(gradients.add_gradients(plain, combined), variable),
            np.where(shared, weighted, rows.sum(axis=0)),
            **TOLERANCE,
            err_msg=variable.path,
        )
    assert seen[0].shape == (3, 3)


@pytest.mark.parametrize("name", ["mmoe", "multi_task", "shared_bottom"])
def test_permuted_tasks_permute_the_gramian(name, batch):
    order = [2, 0, 1]
    model, permuted = make_permuted(name, order)
    gramian = model.gramian(*batch).numpy()
    np.testing.assert_allclose(
        permuted.gramian(*batch), gramian[np.ix_(order, order)], rtol=1e-5
    )


@pytest.mark.parametrize("aggregator", ["ew", "gradcraft"])
def test_permuted_tasks_give_the_same_update(aggregator, batch):
    model, permuted = make_permuted("mmoe", [2, 0, 1], aggregator)
    for each in (model, permuted):
        each.run_eagerly = True
        each.train_on_batch(*batch)
    trunk = [v for v in model.trainable_variables if "tower" not in v.path][:-1]
    same = [v for v in permuted.trainable_variables if "tower" not in v.path][:-1]
    assert len(trunk) == 6
    assert_same(same, trunk)


def make_permuted(name, order, aggregator="ew"):
    """A model, and the same model with its tasks in another order."""
    model = make_model(name)
    permuted = make_model(name, [TASKS[i] for i in order])
    for source, target in zip(model.weights, permuted.weights, strict=True):
        is_stacked = "tower" in source.path or "gate" in source.path
        value = source.numpy()
        target.assign(value[order] if is_stacked else value)
    for each in (model, permuted):
        each.compile("sgd", aggregator)
    return model, permuted


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("aggregator", ["gradcraft", "pcgrad"])
def test_one_task_gets_the_plain_gradient(name, aggregator, batch):
    runs = []
    for each in ("ew", aggregator):
        model = make_model(name, TASKS[:1])
        model.compile("sgd", each, run_eagerly=True)
        model.train_on_batch(*batch)
        runs.append(model.get_weights())
    assert_same(*runs)


def test_a_variable_used_below_and_above_is_refused(batch):
    model = make_model("shared_bottom")
    towers = model.towers
    model.towers = lambda task_inputs, training: towers(
        task_inputs * tf.reduce_sum(model.bottom.dense[0].bias), training
    )
    with pytest.raises(ValueError, match="both below its representations"):
        backward(model, *batch)
