"""MMoE with gates that select few experts."""

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


def make(gate="dselect_k", num_experts=5, **kwargs):
    keras.utils.set_random_seed(0)
    return models.MMoE(
        FEATURES,
        TASKS,
        num_experts=num_experts,
        expert_units=WIDTHS,
        tower_units=(3,),
        gate=gate,
        **kwargs,
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


@pytest.mark.parametrize("single_gate", [False, True])
def test_gates_are_private_unless_there_is_one(single_gate):
    groups = make(single_gate=single_gate).variable_groups()
    of_gates = {sets for path, sets in groups.items() if "/gate/" in path}
    names = [task.name for task in TASKS]
    each = tuple(frozenset([name]) for name in names)
    assert of_gates == {(frozenset(names),) if single_gate else each}


@pytest.mark.parametrize("gate", [DSELECT, STATIC])
def test_rows_are_those_of_a_tape_for_each_task(gate, batch):
    model = make(gate)
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
@pytest.mark.parametrize("single_gate", [False, True])
def test_regularisers_act_alike_on_all_paths(gate, single_gate, batch):
    updated = []
    for aggregator, surface in (
        ("ew", "parameters"),
        (EqualWeights(), "parameters"),
        (EqualWeights(), "representation"),
    ):
        model = make(gate, single_gate=single_gate)
        model.compile(keras.optimizers.SGD(1.0), aggregator, surface, run_eagerly=True)
        model.train_on_batch(*batch)
        updated.append(model.get_weights())
    plain = make({**gate, "entropy_weight": 1.0}, single_gate=single_gate)
    plain.compile(keras.optimizers.SGD(1.0), "ew", run_eagerly=True)
    plain.train_on_batch(*batch)
    assert is_different(plain.get_weights(), updated[0])
    for other in updated[1:]:
        assert_same(other, updated[0], rtol=1e-4)


def test_compiled_steps_are_those_of_eager_ones():
    weights = []
    for mode in ({"run_eagerly": True}, {"jit_compile": True}):
        model = make(DSELECT)
        model.compile("sgd", "gradcraft", "representation", **mode)
        model.fit(make_dataset(2), verbose=0)
        weights.append(model.get_weights())
    # Reductions of XLA add up in another order.
    assert_same(*weights, rtol=1e-4, atol=1e-5)


def test_serving_is_that_of_training_without_losses(batch):
    model = make(DSELECT, dropout=0.5)
    first = model.task_outputs(batch[0], training=False)
    assert not model.losses
    second = model.task_outputs(batch[0], training=False)
    np.testing.assert_array_equal(first, second)


def test_config_round_trip():
    for gate in ("softmax", "dselect_k", DSELECT):
        model = make(gate)
        clone = models.MMoE.from_config(model.get_config())
        assert clone.get_config()["gate"] == gate
        assert type(clone.gate) is type(model.gate)
    assert clone.gate.entropy_weight == 0.1


@pytest.mark.parametrize(
    ("gate", "match"),
    [
        ("dselect", "`gate` must be one of .* Did you mean 'dselect_k'"),
        ({"num_selectors": 0}, "`num_selectors` must be at least 1"),
        ({"selectors": 2}, "selectors"),
    ],
)
def test_bad_gates_are_refused(gate, match):
    with pytest.raises(ValueError, match=match):
        make(gate)
