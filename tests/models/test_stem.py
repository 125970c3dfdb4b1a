"""STEM against a slow reference: all tasks forward, own task backward."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import layers, models
from tf_mtl.tasks import read_targets

from .plain import perceptron, softmax, weighted_sum
from .problem import (
    FEATURES,
    TASKS,
    WIDTHS,
    as_tensors,
    flat_gramian,
    gradients_by_task,
    is_shared,
    make_batch,
)

T = len(TASKS)
SHAPES = {
    "one_each": {},
    "unequal": {"num_shared_experts": 2, "num_task_experts": [2, 1, 3]},
    "dselect_k": {"num_shared_experts": 2, "gate": "dselect_k"},
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def make(seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    return models.STEM(FEATURES, TASKS, expert_units=WIDTHS, tower_units=(3,), **kwargs)


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def streams_of(model, inputs):
    """Stream of each task and the shared one, from tables that are cut by hand."""

    def stream(tables):
        lone = layers.FeatureEmbedding(FEATURES)
        lone.build({name: table.shape for name, table in tables.items()})
        for name, table in tables.items():
            lone.tables[name].assign(table)
        return lone(inputs).numpy()

    own = {name: t.numpy() for name, t in model.task_embedding.tables.items()}
    cut = {name: np.split(table, T, axis=1) for name, table in own.items()}
    of_tasks = [stream({name: c[t] for name, c in cut.items()}) for t in range(T)]
    return of_tasks, stream({n: t.numpy() for n, t in model.embedding.tables.items()})


def reference(model, inputs):
    """Raw outputs: a loop over tasks and experts."""
    streams, shared = streams_of(model, inputs)
    counts = np.broadcast_to(model.num_task_experts, T)
    owners = [t for t in range(T) for _ in range(counts[t])]
    experts = [
        perceptron(model.task_expert, e, streams[owner])
        for e, owner in enumerate(owners)
    ]
    experts += [
        perceptron(model.shared_expert, e, shared)
        for e in range(model.num_shared_experts)
    ]
    outputs = []
    for t, stream in enumerate(streams):
        read = stream + shared
        if isinstance(model.gate, layers.SoftmaxGate):
            weights = softmax(read @ model.gate.kernel.numpy()[t])
        else:  # Has a slow reference of its own.
            weights = model.gate(tf.stack([read] * T)).numpy()[t]
        mixed = weighted_sum(weights, experts)
        outputs.append(perceptron(model.tower, t, mixed)[:, 0])
    return outputs


@every_shape
def test_outputs_are_those_of_a_loop(shape, batch):
    model = make(**SHAPES[shape])
    np.testing.assert_allclose(
        model.task_outputs(batch[0], training=False),
        reference(model, batch[0]),
        rtol=1e-4,
        atol=1e-6,
    )


@every_shape
def test_rows_are_those_of_a_tape_for_each_task(shape, batch):
    model = make(**SHAPES[shape])
    model.compile("sgd")
    rows = gradients_by_task(model, *batch)
    shared = [r * s for r, s in zip(rows, is_shared(model), strict=True)]
    np.testing.assert_allclose(
        model.gramian(*batch), flat_gramian(shared), rtol=1e-4, atol=1e-9
    )


def test_a_task_reads_the_experts_of_others_but_does_not_train_them(batch):
    model = make(num_task_experts=[2, 1, 3])
    before = np.stack(model.task_outputs(batch[0], training=False))
    rows = gradients_by_task(model, *batch)
    named = dict(zip((v.path for v in model.trainable_variables), rows, strict=True))
    owners = np.array([0, 0, 1, 2, 2, 2])
    for path, by_task in named.items():
        for t, row in enumerate(by_task):
            if "/task_expert/" in path:
                assert row[owners == t].any() and not row[owners != t].any(), path
            if "/task_embedding/" in path:
                parts = np.split(row, T, axis=1)
                assert [part.any() for part in parts] == [t == i for i in range(T)]
    bias = model.task_expert.dense[-1].bias
    bias.assign(bias + np.where(owners == 1, 1.0, 0.0)[:, None, None])
    after = np.stack(model.task_outputs(batch[0], training=False))
    assert np.all(np.any(before != after, axis=1))


@every_shape
def test_representation_gramian_is_that_of_the_cotangents(shape, batch):
    model = make(**SHAPES[shape])
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    shared = model.representations(inputs, training=False)
    own = model.own_tensors(inputs, training=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shared)
        read = model.task_inputs({**shared, **own}, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), targets)
    # What only the gates read is left out.
    rows = np.stack([tape.gradient(loss, shared["experts"]) for loss in losses])
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian({**shared, **own}, cotangents),
        flat_gramian([rows]),
        rtol=1e-4,
    )


def test_experts_and_tables_start_apart():
    model = make(num_task_experts=2, num_shared_experts=2)
    for mlp in (model.task_expert, model.shared_expert):
        kernel = mlp.dense[0].kernel.numpy()
        flat = kernel.reshape(len(kernel), -1)
        assert len(np.unique(flat, axis=0)) == len(flat)
        assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape[1:]))
    tables = [*np.split(model.task_embedding.tables["items"].numpy(), T, axis=1)]
    tables.append(model.embedding.tables["items"].numpy())
    assert len(np.unique(np.reshape(tables, [T + 1, -1]), axis=0)) == T + 1


def test_tables_are_no_parameters():
    small, large = (
        models.STEM([FEATURES[0].__class__("id", n, embedding_dim=2)], TASKS)
        for n in (10, 1000)
    )
    assert small.count_parameters() == large.count_parameters()


def test_mixed_bfloat16_runs(batch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make(num_task_experts=2)
        model.compile("sgd", "gradcraft", "representation", run_eagerly=True)
        logs = model.train_on_batch(*batch, return_dict=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.shared_expert.compute_dtype == "bfloat16"
    assert np.isfinite(logs["loss"])
    assert logs["skipped_updates"] == 0


def test_config_round_trip(batch):
    model = make(num_task_experts=[2, 1, 3], gate={"num_selectors": 3}, dropout=0.5)
    clone = models.STEM.from_config(model.get_config())
    assert clone.get_config() == model.get_config()
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        clone.task_outputs(batch[0], False), model.task_outputs(batch[0], False)
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_shared_experts": 0}, "`num_shared_experts` must be at least 1"),
        ({"num_task_experts": [1, 2]}, "one for each of 3 tasks"),
        ({"gate": "top_k"}, "`gate` must be one of"),
        ({"trunk": "cross_network"}, "STEM gives each task embeddings of its own"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)
