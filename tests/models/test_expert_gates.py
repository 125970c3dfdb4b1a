"""Architectures with gates that select few experts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators, layers, models

from .problem import (
    FEATURES,
    TASKS,
    WIDTHS,
    as_tensors,
    assert_same,
    gradients_by_task,
    is_different,
    is_shared,
    make_batch,
    make_dataset,
)

# Five experts are not a power of two, so that both regularisers act.
DSELECT = {"entropy_weight": 0.1}
STATIC = {"entropy_weight": 0.1, "per_example": False}


ARCHITECTURES = {
    "mmoe": (models.MMoE, {"num_experts": 5}),
    "omoe": (models.MMoE, {"num_experts": 5, "single_gate": True}),
    # The first task has one expert more than the others.
    "cgc": (models.CGC, {"num_task_experts": [2, 1, 1]}),
    "ple": (models.PLE, {"num_shared_experts": 2}),
}
every_name = pytest.mark.parametrize("name", ARCHITECTURES)


def make(gate="dselect_k", name="mmoe", features=FEATURES, **kwargs):
    keras.utils.set_random_seed(0)
    cls, own = ARCHITECTURES[name]
    return cls(
        features,
        TASKS,
        expert_units=WIDTHS,
        tower_units=(3,),
        gate=gate,
        **{**own, **kwargs},
    )


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


@pytest.mark.parametrize("gate", ["dselect_k", STATIC])
def test_experts_are_mixed_by_the_gate_layer(gate, batch):
    model = make(gate)
    assert isinstance(model.gate, layers.DSelectKGate)
    shared = model.representations(batch[0], training=False)
    weights = model.gate(shared["gate"])
    expected = np.einsum("tbe,ebh->tbh", weights, shared["experts"])
    np.testing.assert_allclose(
        model.task_inputs(shared, training=False), expected, rtol=1e-4, atol=1e-6
    )


@every_name
@pytest.mark.parametrize("gate", [DSELECT, STATIC])
def test_tasks_reach_the_variables_that_they_reach_by_softmax(name, gate):
    def parts(model):
        groups = model.variable_groups()
        return {path.split("/")[1]: sets for path, sets in groups.items()}

    model = make(gate, name)
    kinds = {type(layer) for layer in model._flatten_layers()}
    assert layers.DSelectKGate in kinds and layers.SoftmaxGate not in kinds
    assert parts(model) == parts(make("softmax", name))


@every_name
@pytest.mark.parametrize("gate", [DSELECT, STATIC])
def test_rows_are_those_of_a_tape_for_each_task(name, gate, batch):
    model = make(gate, name)
    model.compile("sgd")
    rows = gradients_by_task(model, *batch)
    shared = [r * s for r, s in zip(rows, is_shared(model), strict=True)]
    flat = np.concatenate([r.reshape(len(r), -1) for r in shared], axis=1)
    np.testing.assert_allclose(model.gramian(*batch), flat @ flat.T, rtol=1e-4)


class EqualWeights(aggregators.GramianWeighting):
    """Plain sums by way of a Gramian."""

    def _weights(self, gramian, losses, present):
        return tf.ones_like(losses)


@pytest.mark.parametrize("gate", [DSELECT, STATIC])
@every_name
def test_regularisers_act_alike_on_all_paths(gate, name, batch):
    updated = []
    for aggregator, surface in (
        ("ew", "parameters"),
        (EqualWeights(), "parameters"),
        (EqualWeights(), "representation"),
    ):
        model = make(gate, name)
        model.compile(keras.optimizers.SGD(1.0), aggregator, surface, run_eagerly=True)
        model.train_on_batch(*batch)
        updated.append(model.get_weights())
    plain = make({**gate, "entropy_weight": 1.0}, name)
    plain.compile(keras.optimizers.SGD(1.0), "ew", run_eagerly=True)
    plain.train_on_batch(*batch)
    assert is_different(plain.get_weights(), updated[0])
    for other in updated[1:]:
        assert_same(other, updated[0], rtol=1e-4)


def test_compiled_steps_are_those_of_eager_ones():
    weights = []
    for mode in ({"run_eagerly": True}, {"jit_compile": True}):
        model = make(DSELECT, "cgc", FEATURES[:1])
        model.compile("sgd", "gradcraft", "representation", **mode)
        model.fit(make_dataset(2), verbose=0)
        weights.append(model.get_weights())
    # Reductions of XLA add up in another order.
    assert_same(*weights, rtol=1e-4, atol=1e-5)


@every_name
def test_serving_is_that_of_training_without_losses(name, batch):
    model = make(DSELECT, name, dropout=0.5)
    first = model.task_outputs(batch[0], training=False)
    assert not model.losses
    second = model.task_outputs(batch[0], training=False)
    np.testing.assert_array_equal(first, second)


@every_name
@pytest.mark.parametrize("gate", ["softmax", "dselect_k", DSELECT])
def test_config_round_trip(name, gate):
    model = make(gate, name)
    clone = type(model).from_config(model.get_config())
    assert clone.get_config()["gate"] == gate
    assert [v.path for v in clone.weights] == [v.path for v in model.weights]


def test_arguments_reach_the_layer():
    assert make(DSELECT).gate.entropy_weight == 0.1
    gates = [*(ple := make(DSELECT, "ple")).task_gate, *ple.shared_gate]
    assert [gate.entropy_weight for gate in gates] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("name", ["mmoe", "ple"])
@pytest.mark.parametrize(
    ("gate", "match"),
    [
        ("dselect", "`gate` must be one of .* Did you mean 'dselect_k'"),
        ({"num_selectors": 0}, "`num_selectors` must be at least 1"),
        ({"selectors": 2}, "selectors"),
    ],
)
def test_bad_gates_are_refused(name, gate, match):
    with pytest.raises(ValueError, match=match):
        make(gate, name)
