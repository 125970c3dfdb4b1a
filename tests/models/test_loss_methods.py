"""Methods that look at losses, in `fit`: updates seen, epochs counted, state saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tests.models import problem
from tf_mtl import aggregators

DATASET = problem.make_dataset(3)

# Epochs 0 and 1 are over before these weigh by what they have seen.
BY_EPOCH = {
    "dwa": ({}, aggregators.get("ew")),
    "igb_v1": ({}, aggregators.get("igb_v1", base_epoch=99)),
    "stch": (
        {"form": "log_nadir", "warmup_epochs": 1},
        aggregators.get("stch", form="log_nadir", warmup_epochs=99),
    ),
}


def make(aggregator, jit_compile=False):
    model = problem.make_model("mmoe")
    model.compile(problem.make_sgd(), aggregator, jit_compile=jit_compile)
    return model


def train(model, epochs):
    return model.fit(DATASET, epochs=epochs, verbose=0).history


def state(model):
    return [
        v.numpy()
        for v in [
            *model.trainable_variables,
            *model.optimizer.variables,
            *model.aggregator.variables,
        ]
    ]


def train_by_hand(model, aggregator):
    """What `fit` does with FAMO, written out."""
    optimizer = problem.make_sgd()
    for inputs, labels in DATASET:
        targets = tf_mtl.tasks.read_targets(model.tasks, labels)
        variables = model.trainable_variables

        def losses(training, inputs=inputs, targets=targets):
            outputs = model.task_outputs(inputs, training)
            return tf.stack(model._task_losses(outputs, targets))

        with tf.GradientTape() as tape:
            before = losses(training=True)
            weights = aggregator.weights(tf.stop_gradient(before))
            total = tf.reduce_sum(weights * before)
        optimizer.apply(tape.gradient(total, [v.value for v in variables]), variables)
        updated = aggregator.updated_losses(lambda: losses(training=False))
        aggregator.observe(updated)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_famo_observes_the_losses_after_the_update(jit_compile, every):
    aggregator = aggregators.get("famo", second_pass_every=every)
    by_hand = make("ew")
    train_by_hand(by_hand, aggregator)
    model = make(aggregators.get("famo", second_pass_every=every), jit_compile)
    train(model, epochs=1)
    assert np.all(np.abs(aggregator._logits.numpy()) > 1e-3)
    # They come from differences of logarithms of float32 losses.
    problem.assert_same(model.aggregator.variables, aggregator.variables, 1e-3, 1e-5)
    problem.assert_same(model.trainable_variables, by_hand.trainable_variables)


@pytest.mark.parametrize("name", BY_EPOCH)
def test_weights_change_in_the_third_epoch(name):
    arguments, unweighted = BY_EPOCH[name]
    model, plain = make(aggregators.get(name, **arguments)), make(unweighted)
    for each in (model, plain):
        train(each, epochs=2)
    problem.assert_same(model.trainable_variables, plain.trainable_variables)
    for each in (model, plain):
        train(each, epochs=1)
    assert problem.is_different(model.trainable_variables, plain.trainable_variables)


def test_epochs_are_the_mean_losses_of_the_logs():
    model = make("dwa")
    history = train(model, epochs=3)
    logged = np.array(
        [task.weight * np.array(history[f"{task.name}_loss"]) for task in model.tasks]
    )
    aggregator = model.aggregator
    np.testing.assert_allclose(aggregator._older, logged[:, 1], rtol=1e-5)
    np.testing.assert_allclose(aggregator._newer, logged[:, 2], rtol=1e-5)


@pytest.mark.parametrize("name", ["dwa", "famo", "gradnorm", "igb_v1", "rlw", "uw"])
def test_saved_model_continues(name, tmp_path):
    model = make(aggregators.get(name))
    train(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    problem.assert_same(state(loaded), state(model), rtol=0, atol=0)
    for each in (model, loaded):
        train(each, epochs=1)
    problem.assert_same(state(loaded), state(model))
    assert loaded.aggregator.get_config() == model.aggregator.get_config()
