"""PEPNet and PPNet against a slow reference, and what their gates learn from."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import models
from tf_mtl.tasks import read_targets

from .problem import (
    FEATURES,
    TASKS,
    as_tensors,
    flat_gramian,
    make_batch,
)

PERSONAL = [dataclasses.replace(f, personal=f.name == "user") for f in FEATURES]
RNG = np.random.default_rng(0)
CASES = {
    "ppnet": (models.PPNet, {}),
    "ppnet_output": (models.PPNet, {"placement": "output"}),
    "pepnet": (models.PEPNet, {}),
    "pepnet_domain": (models.PEPNet, {"domain": ["price", "item"]}),
}
every_case = pytest.mark.parametrize("case", CASES)


def make(case="pepnet", features=PERSONAL, **kwargs):
    keras.utils.set_random_seed(0)
    cls, own = CASES[case]
    return cls(features, TASKS, tower_units=(4, 3), gate_units=5, **own, **kwargs)


def randomized(model):
    """Gates that have learned, so that none is the identity."""
    for variable in model.trainable_variables:
        if "gate" in variable.path:
            variable.assign(RNG.normal(size=variable.shape))
    return model


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def factors(inputs, hidden, gate):
    """Two layers of a gate, by the equation of the paper."""
    hidden = np.maximum(inputs @ hidden[0] + hidden[1], 0)
    return 2 / (1 + np.exp(-(hidden @ gate[0] + gate[1])))


def slice_of(layer, index):
    """Kernel and bias of one slice."""
    return [v.numpy()[index] for v in (layer.kernel, layer.bias)]


def reference(model, inputs):
    """Raw outputs by a loop over tasks, layers and gates."""
    vectors = model.feature_vectors(inputs, training=False)
    vectors = {name: vector.numpy() for name, vector in vectors.items()}
    embedded = np.concatenate(list(vectors.values()), axis=1)
    if model.domain:
        domain = np.concatenate([vectors[name] for name in model.domain], axis=1)
        gate = model.embedding_gate
        embedded = embedded * factors(
            np.concatenate([domain, embedded], axis=1),
            slice_of(gate.hidden, 0),
            slice_of(gate.gate, 0),
        )
    read = np.concatenate([vectors["user"], embedded], axis=1)
    tower = model.tower
    ungated = len(tower.dense) - tower.num_gates
    outputs = []
    for task in range(len(TASKS)):
        units = embedded
        for i, layer in enumerate(tower.dense):
            if i >= ungated:
                hidden = slice_of(model.gate, i - ungated)
                gate = slice_of(tower.gates[i - ungated].gate, task)
                units = units * factors(read, hidden, gate)
            kernel, bias = slice_of(layer, task)
            units = units @ kernel + bias
            if i < len(tower.units):
                units = np.maximum(units, 0)
        outputs.append(units[:, 0])
    return outputs


@every_case
def test_outputs_are_those_of_a_loop(case, batch):
    model = randomized(make(case))
    np.testing.assert_allclose(
        model.task_outputs(batch[0], training=False),
        reference(model, batch[0]),
        rtol=1e-4,
        atol=1e-6,
    )


def test_without_its_first_gate_pepnet_is_ppnet(batch):
    ppnet = randomized(make("ppnet"))
    pepnet = make("pepnet")
    assert pepnet.domain == ("user",)
    fresh = {v.path.split("/", 1)[1]: v for v in pepnet.trainable_variables}
    for variable in ppnet.trainable_variables:
        fresh[variable.path.split("/", 1)[1]].assign(variable)
    # The gate of the embeddings starts as the identity.
    np.testing.assert_array_equal(
        pepnet.task_outputs(batch[0], False), ppnet.task_outputs(batch[0], False)
    )


def test_starts_ungated(batch):
    model = make("pepnet")
    before = model.task_outputs(batch[0], training=False)
    for variable in (*model.gate.weights, *model.embedding_gate.hidden.weights):
        variable.assign(RNG.normal(size=variable.shape))
    np.testing.assert_array_equal(model.task_outputs(batch[0], training=False), before)


def test_slices_of_the_towers_differ():
    model = make("pepnet")
    for layer in (*model.tower.dense, model.gate):
        kernel = layer.kernel.numpy()
        assert all((kernel[0] != other).any() for other in kernel[1:])
        limit = np.sqrt(6 / sum(kernel.shape[1:]))
        assert abs(kernel).max() <= limit


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_gates_of_towers_train_the_personal_table_at_most(batch, stop_gradient):
    model = randomized(make("pepnet", stop_gradient=stop_gradient))
    variables = {v.path.split("/", 1)[1]: v.value for v in model.trainable_variables}
    with tf.GradientTape() as tape:
        gates = model.representations(batch[0], training=True)["gates"]
    found = tape.gradient(gates, variables)
    reached = {path for path, gradient in found.items() if gradient is not None}
    # Neither the other tables nor the gate of the embeddings.
    own = set() if stop_gradient else {"embedding/user"}
    assert reached == {"gate/kernel", "gate/bias"} | own


def test_embeddings_learn_of_their_gate_by_its_factors_alone(batch):
    model = randomized(make("pepnet", domain=["price"]))
    vectors = model.feature_vectors(batch[0], training=False)
    joined = tf.concat(list(vectors.values()), axis=-1)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        gated = tf.concat(list(model._rescaled(vectors).values()), axis=-1)
    found = tape.gradient(gated, vectors)
    assert list(found)[-1] == "price"  # The number has the path of the gate beside.
    found = np.concatenate(list(found.values())[:-1], axis=1)
    width = found.shape[1]
    np.testing.assert_allclose(
        found * joined[:, :width], gated[:, :width], rtol=1e-4, atol=1e-7
    )


@every_case
def test_representation_gramian_is_that_of_the_cotangents(case, batch):
    model = randomized(make(case))
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    shared = model.representations(inputs, training=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shared)
        read = model.task_inputs(shared, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), targets)
    rows = [
        np.stack([tape.gradient(loss, tensor) for loss in losses])
        for tensor in shared.values()
    ]
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian(rows),
        rtol=1e-4,
        atol=1e-9,
    )


@every_case
def test_serving_is_deterministic_and_takes_one_row(case, batch):
    model = randomized(make(case, dropout=0.5))
    first = model.task_outputs(batch[0], training=False)
    np.testing.assert_array_equal(first, model.task_outputs(batch[0], training=False))
    one = {name: tensor[:1] for name, tensor in batch[0].items()}
    np.testing.assert_allclose(
        model.task_outputs(one, training=False),
        [output[:1] for output in first],
        rtol=1e-5,
        atol=1e-6,
    )
    assert not np.allclose(model.task_outputs(batch[0], training=True), first)


@every_case
def test_round_trip_of_arguments(case, batch):
    model = make(case, stop_gradient=True, dropout=0.1)
    revived = type(model).from_config(model.get_config())
    assert revived.get_config() == model.get_config()
    revived.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        revived.task_outputs(batch[0], False), model.task_outputs(batch[0], False)
    )


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`features` must hold one with `personal"):
        make(features=FEATURES)
    with pytest.raises(ValueError, match=r"`domain` must name .*Received: \['page'\]"):
        make(domain=["page", "item"])
    with pytest.raises(ValueError, match="`gate_units` must be at least 1"):
        models.PPNet(PERSONAL, TASKS, gate_units=0)
    with pytest.raises(ValueError, match="`placement` must be one of"):
        make(placement="both")
    with pytest.raises(TypeError, match="domain"):
        make("ppnet", domain=["user"])
