"""What every architecture promises.

More of it, for all of them: gradients in test_task_gradients.py, compiled steps in
test_execution.py, groups in test_variable_groups.py, absent tasks in test_masks.py,
saving in tests/aggregators/test_row_tracking.py, exports in
tests/export/test_saved_model.py.
"""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import layers, models
from tf_mtl.benchmarks.workload import Workload

from .plain import perceptron, softmax, weighted_sum
from .problem import ARCHITECTURES, TASKS, as_tensors, make_batch, make_model


@pytest.fixture(scope="module")
def inputs():
    return as_tensors(make_batch()[0])


def test_every_registered_architecture_is_in_the_suite():
    assert set(models.names()) <= set(ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_serving_is_deterministic_and_takes_one_row(name, inputs):
    model = make_model(name, dropout=0.5)
    whole, again = (np.stack(model.task_outputs(inputs, False)) for _ in range(2))
    np.testing.assert_array_equal(whole, again)
    row = {key: tensor[:1] for key, tensor in inputs.items()}
    alone = np.stack(model.task_outputs(row, False))
    # Products of one row and of many may add up in another order.
    np.testing.assert_allclose(alone, whole[:, :1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", models.names())
def test_slices_differ_and_have_the_spread_of_a_plain_layer(name):
    model = Workload(num_tasks=3, vocabulary=400).model(name)
    stacks = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.StackedDense) and layer.num_slices > 1
    ]
    assert stacks
    for layer in stacks:
        kernel = layer.kernel.numpy()
        if not kernel.any():
            continue  # A gate that starts as the identity.
        flat = kernel.reshape(len(kernel), -1)
        assert len(np.unique(flat, axis=0)) == len(flat), layer.path
        spread = np.sqrt(2 / sum(kernel.shape[1:]))
        # A slice of so few numbers has no sharp spread.
        if flat.shape[1] >= 2000:
            np.testing.assert_allclose(flat.std(axis=1), spread, rtol=0.05)


# -- stacked forms against loops over plain layers; others have such a test of their own


def of_shared_bottom(model, inputs):
    hidden = perceptron(model.bottom, 0, model.embed(inputs, False).numpy())
    return [perceptron(model.tower, t, hidden) for t in range(len(TASKS))]


def of_single_task(model, inputs):
    embedded = model.own_tensors(inputs, False)["embedded"].numpy()
    return [perceptron(model.tower, t, embedded[t]) for t in range(len(TASKS))]


def of_mmoe(model, inputs):
    embedded = model.embed(inputs, False).numpy()
    experts = [perceptron(model.expert, e, embedded) for e in range(model.num_experts)]
    if isinstance(model, models.ACMMoE):  # These layers have references of their own.
        stacked = model.convolution(model.attention(tf.constant(np.stack(experts))))
        experts = list(stacked.numpy())
    outputs = []
    for t in range(len(TASKS)):
        kernel = model.gate.kernel.numpy()[0 if model.single_gate else t]
        mixed = weighted_sum(softmax(embedded @ kernel), experts)
        outputs.append(perceptron(model.tower, t, mixed))
    return outputs


def of_split_mmoe(model, inputs):
    vectors = model.feature_vectors(inputs, False)
    embedded = model.join(vectors, False).numpy()
    experts = [perceptron(model.expert, e, embedded) for e in range(model.num_experts)]
    kernel = model.shared_gate.kernel.numpy()[0]
    shared = weighted_sum(softmax(embedded @ kernel), experts)
    if model.personal_gate is not None:
        kernel = model.personal_gate.gate.kernel.numpy()[0]
        shared *= 2 / (1 + np.exp(-vectors["user"].numpy() @ kernel))
    towers = iter(range(len(model.tower_tasks)))
    dedicated = {}
    count = model.num_dedicated_experts
    for place, t in enumerate(model.primaries):
        kernel = model.dedicated_gate.kernel.numpy()[place]
        own = range(place * count, (place + 1) * count)
        mixed = experts + [perceptron(model.dedicated_expert, e, embedded) for e in own]
        vector = weighted_sum(softmax(embedded @ kernel), mixed)
        dedicated[t] = perceptron(model.tower, next(towers), vector)
    outputs = {}
    for t in model.branch_tasks:
        outputs[t] = perceptron(model.tower, next(towers), shared)
        if t in dedicated:  # Both branches count one half until the updater learns.
            outputs[t] = (outputs[t] + dedicated[t]) / 2
    return [outputs[t] for t in range(len(TASKS))]


REFERENCES = {
    "ac_mmoe": of_mmoe,
    "drgrad": of_split_mmoe,
    "mmoe": of_mmoe,
    "omoe": of_mmoe,
    "shared_bottom": of_shared_bottom,
    "single_task": of_single_task,
    "split_mmoe": of_split_mmoe,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_outputs_are_those_of_loops_over_plain_layers(name, inputs):
    model = make_model(name)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if not np.any(variable):  # What starts as nothing would hide a fault.
            variable.assign(rng.normal(scale=0.5, size=variable.shape))
    np.testing.assert_allclose(
        model.task_outputs(inputs, training=False),
        np.stack(REFERENCES[name](model, inputs))[..., 0],
        rtol=1e-4,
        atol=1e-5,
    )
