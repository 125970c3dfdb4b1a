"""AC-MMoE next to the MMoE that it starts as."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import models
from tf_mtl.tasks import read_targets

from .problem import FEATURES, TASKS, WIDTHS, as_tensors, flat_gramian, make_batch


def make(cls=models.ACMMoE, **kwargs):
    keras.utils.set_random_seed(0)
    if cls is models.ACMMoE:
        kwargs = {"num_heads": 2, "filters": 2, **kwargs}
    return cls(
        FEATURES,
        TASKS,
        num_experts=3,
        expert_units=WIDTHS,
        tower_units=(3,),
        **kwargs,
    )


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def copy_weights(source, target):
    """Copies what both models have, by path without the name of the model."""
    by_path = {v.path.partition("/")[2]: v for v in source.weights}
    for variable in target.weights:
        path = variable.path.partition("/")[2]
        if path in by_path:
            variable.assign(by_path[path])


def test_starts_as_mmoe_exactly_and_leaves_it(batch):
    model, plain = make(), make(models.MMoE)
    copy_weights(plain, model)
    expected = np.stack(plain.task_outputs(batch[0], training=False))
    outputs = model.task_outputs(batch[0], training=False)
    np.testing.assert_array_equal(outputs, expected)
    model.compile("sgd", run_eagerly=True)
    model.train_on_batch(*batch)
    assert all(v.numpy() != 0 for v in model.weights if v.path.endswith("scale"))
    copy_weights(model, plain)
    # Alike in all that both have, but for what is added now.
    expected = np.stack(plain.task_outputs(batch[0], training=False))
    assert np.any(np.stack(model.task_outputs(batch[0], training=False)) != expected)


def test_every_variable_moves_in_the_second_step(batch):
    model = make()
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    model.train_on_batch(*batch)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch(*batch)
    still = [
        v.path
        for v, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(v.numpy(), old)
    ]
    assert still == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, {"attention", "convolution"}),
        ({"use_attention": False}, {"convolution"}),
        ({"use_convolution": False}, {"attention"}),
    ],
)
def test_parts_can_be_left_out(arguments, parts):
    model = make(**arguments)
    names = {v.path.split("/")[1] for v in model.weights}
    assert names & {"attention", "convolution"} == parts
    config = model.get_config()
    assert {p for p in ("attention", "convolution") if config[f"use_{p}"]} == parts


def test_representation_gramian_is_that_of_the_cotangents_at_what_gates_mix(batch):
    model = make()
    for variable in model.weights:
        if variable.path.endswith("scale"):
            variable.assign([0.5])
    inputs, labels = batch
    with tf.GradientTape(persistent=True) as tape:
        shared = model.representations(inputs, training=False)
        tape.watch(shared)
        read = model.task_inputs(shared, training=False)
        outputs = model.towers(read, training=False)
        losses = model._task_losses(tf.unstack(outputs), read_targets(TASKS, labels))
    rows = np.stack([tape.gradient(loss, shared["experts"]) for loss in losses])
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian([rows]),
        rtol=1e-4,
    )


def test_arguments_of_mmoe_are_taken():
    model = make(single_gate=True, gate={"num_selectors": 1})
    clone = models.ACMMoE.from_config(model.get_config())
    assert clone.single_gate
    assert clone.gate.num_selectors == 1
    assert clone.num_heads == 2


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`num_heads` must divide"):
        make(num_heads=3)
    with pytest.raises(ValueError, match="`filters` must be at least 1"):
        make(filters=0)
