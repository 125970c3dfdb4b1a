"""PLE and CGC against a slow reference, and their cut."""

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

SHAPES = {
    "cgc": {"num_levels": 1, "num_shared_experts": 2, "num_task_experts": 2},
    "cgc_unequal": {"num_levels": 1, "num_task_experts": [1, 3, 2]},
    "ple": {},
    "ple_unequal": {
        "num_levels": 2,
        "num_shared_experts": 3,
        "num_task_experts": [2, 1, 1],
    },
    "three_levels": {
        "num_levels": 3,
        "num_shared_experts": 2,
        "num_task_experts": [1, 2, 1],
    },
    "cgc_dselect_k": {"num_levels": 1, "num_shared_experts": 2, "gate": "dselect_k"},
    "ple_dselect_k": {"num_task_experts": [2, 1, 1], "gate": {"entropy_weight": 0.1}},
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def make(seed=0, cls=models.PLE, **kwargs):
    keras.utils.set_random_seed(seed)
    return cls(FEATURES, TASKS, expert_units=WIDTHS, tower_units=(3,), **kwargs)


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def mixture(gate, index, stream, experts, used=slice(None)):
    """A mixture by gate `index`, and by those columns of it that are used."""
    if isinstance(gate, layers.SoftmaxGate):
        weights = softmax(stream @ gate.kernel.numpy()[index][:, used])
    else:  # Has a slow reference of its own.
        weights = gate(tf.stack([stream] * gate.num_gates)).numpy()[index][:, used]
    return weighted_sum(weights, experts)


def reference(model, inputs):
    """Raw outputs, by the equations of the paper: a loop over tasks and experts."""
    counts = np.broadcast_to(model.num_task_experts, len(TASKS))
    most = max(counts)
    embedded = model.embed(inputs, training=False).numpy()
    streams, shared_stream = [embedded] * len(TASKS), embedded
    for level in range(model.num_levels):
        own, index = [], 0
        for t, count in enumerate(counts):
            own.append([])
            for _ in range(count):
                expert = perceptron(model.task_expert[level], index, streams[t])
                own[t].append(expert)
                index += 1
        shared = [
            perceptron(model.shared_expert[level], e, shared_stream)
            for e in range(model.num_shared_experts)
        ]
        mixed = []
        for t, count in enumerate(counts):
            used = [*range(count), *range(most, most + len(shared))]
            gate = model.task_gate[level]
            mixed.append(mixture(gate, t, streams[t], [*own[t], *shared], used))
        if level < model.num_levels - 1:
            gate = model.shared_gate[level]
            everyone = [expert for experts in own for expert in experts]
            shared_stream = mixture(gate, 0, shared_stream, [*everyone, *shared])
        streams = mixed
    return [perceptron(model.tower, t, streams[t])[:, 0] for t in range(len(TASKS))]


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


@every_shape
def test_representation_gramian_is_that_of_the_cotangents(shape, batch):
    model = make(**SHAPES[shape])
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    shared = {
        name: tf.stop_gradient(tensor)
        for name, tensor in model.representations(inputs, training=False).items()
    }
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shared)
        read = model.task_inputs(shared, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), targets)
    # What only gates read is left out; with one level, experts of tasks read it too.
    names = [name for name in shared if name != "streams" or model.num_levels == 1]
    rows = [
        np.stack([tape.gradient(loss, shared[name], None, "zero") for loss in losses])
        for name in names
    ]
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian(rows),
        rtol=1e-4,
        atol=1e-9,
    )


def groups_of(model):
    """Sets of tasks by the part of the model that a variable belongs to."""
    return {path.split("/")[1]: sets for path, sets in model.variable_groups().items()}


def test_gates_of_tasks_are_task_specific_on_the_last_two_levels_only():
    groups = groups_of(make(**SHAPES["three_levels"]))
    everyone = (frozenset(task.name for task in TASKS),)
    each = tuple(frozenset([task.name]) for task in TASKS)
    of_experts = (each[0], each[1], each[1], each[2])
    assert groups["task_gate_1"] == everyone
    assert groups["task_gate_2"] == groups["task_gate_3"] == each
    assert groups["task_expert_1"] == groups["task_expert_2"] == everyone
    assert groups["task_expert_3"] == of_experts
    assert groups["shared_gate_1"] == groups["shared_gate_2"] == everyone


@every_shape
def test_last_level_has_no_shared_gate_and_every_variable_a_gradient(shape, batch):
    model = make(**SHAPES[shape])
    parts = {v.path.split("/")[1] for v in model.weights}
    gates = {f"shared_gate_{n}" for n in range(1, model.num_levels)}
    assert {part for part in parts if "shared_gate" in part} == gates
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = model.task_outputs(batch[0], training=True)
    found = tape.gradient(outputs, variables)
    assert all(gradient is not None for gradient in found)


def outputs_with_other_expert(model, inputs, task, level):
    """Outputs before and after the experts of a task change on a level."""
    before = np.stack(model.task_outputs(inputs, training=False))
    bias = model.task_expert[level].dense[-1].bias
    slices = bias.numpy().copy()
    slices[task] += 1.0
    bias.assign(slices)
    return before, np.stack(model.task_outputs(inputs, training=False))


def test_tasks_see_the_experts_of_others_through_the_shared_gate(batch):
    model = make()
    # The shared gate selects the expert of the second task.
    embedded = model.embed(batch[0], training=False)
    kernel = np.zeros(model.shared_gate[0].kernel.shape, "float32")
    kernel[0, :, 1] = 100.0 * np.sign(np.mean(embedded, axis=0))
    model.shared_gate[0].kernel.assign(kernel)
    before, after = outputs_with_other_expert(model, batch[0], task=1, level=0)
    assert np.all(np.any(before != after, axis=1))


@pytest.mark.parametrize("num_levels", [1, 2])
def test_experts_of_the_last_level_are_of_their_task_alone(num_levels, batch):
    model = make(num_levels=num_levels)
    before, after = outputs_with_other_expert(model, batch[0], task=1, level=-1)
    assert list(np.any(before != after, axis=1)) == [False, True, False]


def test_gates_read_the_stream_of_their_level(batch):
    model = make()
    assert model.task_gate[0].kernel.shape[1] == model.embed(batch[0], False).shape[-1]
    assert model.task_gate[1].kernel.shape[1] == WIDTHS[-1]


@pytest.mark.parametrize("gate", ["softmax", "dselect_k"])
def test_a_task_with_fewer_experts_never_weights_a_missing_one(gate, batch):
    model = make(num_levels=1, num_task_experts=[1, 3, 2], gate=gate)
    weights = model.task_gate[0](model.embed(batch[0], training=False)).numpy()
    np.testing.assert_array_equal(weights[0, :, 1:3], 0.0)
    np.testing.assert_array_equal(weights[2, :, 2], 0.0)
    assert np.all(weights[1] > 0)
    sums = weights.sum(axis=-1)
    if gate == "softmax":
        np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
    else:  # The first gate has lost two codes of four, the last one.
        assert np.all(np.diff(sums[[0, 2, 1]], axis=0) > 0.1)


def test_experts_start_apart():
    kernel = make(num_task_experts=2).task_expert[0].dense[0].kernel.numpy()
    flat = kernel.reshape(len(kernel), -1)
    assert len(np.unique(flat, axis=0)) == len(flat) == 6
    assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape[1:]))


def test_cgc_is_ple_with_one_level(batch):
    cgc, ple = (
        make(cls=models.CGC, num_task_experts=2),
        make(num_levels=1, num_task_experts=2),
    )
    np.testing.assert_array_equal(
        cgc.task_outputs(batch[0], training=False),
        ple.task_outputs(batch[0], training=False),
    )
    assert "num_levels" not in cgc.get_config()
    assert models.get("cgc") is models.CGC
    assert models.get("ple") is models.PLE


@every_shape
def test_one_row_is_served_as_in_a_batch(shape, batch):
    model = make(**SHAPES[shape], dropout=0.5)
    row = {name: tensor[:1] for name, tensor in batch[0].items()}
    whole = np.stack(model.task_outputs(batch[0], training=False))
    np.testing.assert_array_equal(model.task_outputs(batch[0], training=False), whole)
    alone = np.stack(model.task_outputs(row, training=False))
    # Products of one row and of many may add up in another order.
    np.testing.assert_allclose(alone, whole[:, :1], rtol=1e-5, atol=1e-6)


def test_mixed_bfloat16_runs(batch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make(**SHAPES["ple_unequal"])
        model.compile("sgd", "gradcraft", "representation", run_eagerly=True)
        logs = model.train_on_batch(*batch, return_dict=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.shared_expert[0].compute_dtype == "bfloat16"
    assert np.isfinite(logs["loss"])
    assert logs["skipped_updates"] == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_levels": 0}, "`num_levels` must be at least 1"),
        ({"num_shared_experts": 0}, "`num_shared_experts` must be at least 1"),
        ({"num_task_experts": 0}, "`num_task_experts` must be an int of at least 1"),
        ({"num_task_experts": [1, 2]}, "one for each of 3 tasks"),
        ({"num_task_experts": [1, 0, 2]}, r"Received: num_task_experts=\[1, 0, 2\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)
