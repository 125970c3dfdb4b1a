"""SNR against a slow reference, its random gates and what they cost."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import models
from tf_mtl.tasks import read_targets

from .plain import perceptron
from .problem import (
    FEATURES,
    TASKS,
    WIDTHS,
    as_tensors,
    assert_same,
    flat_gramian,
    is_different,
    make_batch,
    make_dataset,
)

every_mode = pytest.mark.parametrize("mode", ["trans", "aver"])


def make(seed=0, cls=models.SNR, features=FEATURES, **kwargs):
    keras.utils.set_random_seed(seed)
    own = {"num_sub_networks": 3, "sub_network_units": WIDTHS, "tower_units": (3,)}
    return cls(features, TASKS, **{**own, **kwargs})


@pytest.fixture(scope="module")
def batch():
    return as_tensors(make_batch())


def reference(model, inputs):
    """Raw outputs when served, by the equations of the paper: a loop over all."""
    numbers = range(model.num_sub_networks)
    streams = [model.embed(inputs, training=False).numpy()] * model.num_sub_networks
    for network, routing in zip(model.sub_network, model.routing, strict=True):
        outputs = [perceptron(network, i, streams[i]) for i in numbers]
        alpha = 1 / (1 + np.exp(-routing.gate.log_alpha.numpy()))
        gates = np.clip(alpha * 1.2 - 0.1, 0, 1)
        streams = []
        for o, row in enumerate(gates):
            read = outputs
            if model.mode == "trans":
                kernel = routing.kernel.numpy()[o]
                read = [outputs[i] @ kernel[i] for i in numbers]
            streams.append(sum(z * each for z, each in zip(row, read, strict=True)))
    return [perceptron(model.tower, t, s)[:, 0] for t, s in enumerate(streams)]


@every_mode
def test_outputs_are_those_of_the_equations(mode, batch):
    model = make(mode=mode)
    rng = np.random.default_rng(0)
    for routing in model.routing:
        alpha = routing.gate.log_alpha
        alpha.assign(rng.normal(scale=3.0, size=alpha.shape))
    actual = model.task_outputs(batch[0], training=False)
    expected = reference(model, batch[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@every_mode
def test_gramian_is_that_of_the_cotangents_under_the_noise_of_the_step(mode, batch):
    model = make(mode=mode)
    inputs, labels = batch
    targets = read_targets(TASKS, labels)
    shared = model.representations(inputs, training=True)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shared)
        read = model.task_inputs(shared, training=True)
        outputs = model.towers(read, training=True)
        losses = model._task_losses(tf.unstack(outputs), targets)
    rows = [
        tape.gradient(loss, shared["sub_networks"], None, "zero") for loss in losses
    ]
    cotangents = tf.add_n([tape.gradient(loss, read) for loss in losses])
    np.testing.assert_allclose(
        model.representation_gramian(shared, cotangents),
        flat_gramian([np.stack(rows)]),
        rtol=1e-4,
    )


def test_training_draws_anew_and_serving_does_not(batch):
    model = make(dropout=0.0)
    trained = [np.stack(model.task_outputs(batch[0], True)) for _ in range(2)]
    served = [np.stack(model.task_outputs(batch[0], False)) for _ in range(2)]
    assert np.all(np.any(trained[0] != trained[1], axis=1))
    np.testing.assert_array_equal(*served)


def test_one_draw_holds_for_the_whole_batch(batch):
    model = make()
    twice = {name: tf.concat([x, x], axis=0) for name, x in batch[0].items()}
    first, second = np.split(np.stack(model.task_outputs(twice, True)), 2, axis=1)
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@every_mode
def test_every_variable_is_trained(mode, batch):
    model = make(mode=mode)
    with tf.GradientTape() as tape:
        outputs = model.task_outputs(batch[0], training=True)
    found = tape.gradient(outputs, [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in found)
    # Of each layer the gates, and in mode `trans` the matrices.
    names = [v.path for v in model.trainable_variables if "routing" in v.path]
    assert len(names) == (4 if mode == "trans" else 2)


def test_price_is_charged_once_per_step_and_only_in_training(batch):
    model = make(gate={"l0_weight": 0.5})
    model.compile("sgd")
    model.task_outputs(batch[0], training=False)
    assert model.penalty() is None
    targets = read_targets(TASKS, batch[1])
    model.representation_backward(
        batch[0],
        lambda outputs: model._task_losses(outputs, targets),
        lambda gramian: tf.ones([len(TASKS)]),
    )
    p = 1 / (1 + np.exp(-(1 - 2 / 3 * np.log(0.1 / 1.1))))
    # 3 * 3 connections to the second layer and as many to the towers.
    np.testing.assert_allclose(model.penalty(), 0.5 * 18 * p, rtol=1e-5)


def test_a_price_closes_connections_that_serve_as_zeros(batch):
    model = make(gate={"l0_weight": 5.0, "log_alpha_init": 0.0})
    assert all(np.all(is_open) for is_open in model.open_connections())
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    for _ in range(5):
        model.train_on_batch(*batch)
    is_open = model.open_connections()
    assert [each.shape for each in is_open] == [(3, 3), (3, 3)]
    assert not np.any(is_open)
    # Nothing is left of the inputs.
    outputs = np.stack(model.task_outputs(batch[0], training=False))
    assert np.all(outputs == outputs[:, :1])


def test_a_closed_row_cuts_off_its_task_alone(batch):
    model = make()
    alpha = np.ones((3, 3), "float32")
    alpha[1] = -9.0
    model.routing[-1].gate.log_alpha.assign(alpha)
    outputs = np.stack(model.task_outputs(batch[0], training=False))
    assert list(np.ptp(outputs, axis=1) == 0) == [False, True, False]


@every_mode
def test_compiled_steps_draw_what_eager_steps_do(mode):
    runs = []
    for arguments in ({"run_eagerly": True}, {"jit_compile": True}):
        model = make(mode=mode, features=FEATURES[:1])
        model.compile(
            keras.optimizers.SGD(0.1), "gradcraft", "representation", **arguments
        )
        model.fit(make_dataset(2), verbose=0)
        runs.append(model.get_weights())
    # Reductions of XLA add up in another order.
    assert_same(*runs, rtol=1e-4, atol=1e-5)


def test_a_saved_model_goes_on_with_the_same_draws(batch, tmp_path):
    model = make()
    model.compile(keras.optimizers.SGD(0.1), "gradcraft", run_eagerly=True)
    model.train_on_batch(*batch)
    model.save(tmp_path / "snr.keras")
    loaded = keras.saving.load_model(tmp_path / "snr.keras")
    loaded.compile(keras.optimizers.SGD(0.1), "gradcraft", run_eagerly=True)
    before = model.get_weights()
    for each in (model, loaded):
        each.train_on_batch(*batch)
    assert is_different(model.get_weights(), before)
    assert_same(loaded.get_weights(), model.get_weights())


def test_snr_aver_is_snr_without_matrices(batch):
    aver, snr = make(cls=models.SNRAver), make(mode="aver")
    np.testing.assert_array_equal(
        aver.task_outputs(batch[0], training=False),
        snr.task_outputs(batch[0], training=False),
    )
    assert "mode" not in aver.get_config()
    assert models.get("snr_aver") is models.SNRAver
    assert models.get("snr_trans") is models.SNR
    clone = models.SNR.from_config(make(mode="aver", gate={"beta": 0.5}).get_config())
    assert (clone.mode, clone.gate) == ("aver", {"beta": 0.5})


def test_one_row_is_served_as_in_a_batch(batch):
    model = make(dropout=0.5)
    row = {name: tensor[:1] for name, tensor in batch[0].items()}
    whole = np.stack(model.task_outputs(batch[0], training=False))
    alone = np.stack(model.task_outputs(row, training=False))
    # Products of one row and of many may add up in another order.
    np.testing.assert_allclose(alone, whole[:, :1], rtol=1e-5, atol=1e-6)


@every_mode
def test_mixed_bfloat16_runs(mode, batch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make(mode=mode)
        model.compile("sgd", "gradcraft", "representation", run_eagerly=True)
        logs = model.train_on_batch(*batch, return_dict=True)
        shared = model.representations(batch[0], training=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert shared["sub_networks"].dtype == tf.bfloat16
    assert shared["noise"].dtype == tf.float32
    assert np.isfinite(logs["loss"])
    assert logs["skipped_updates"] == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mode": "average"}, r"`mode` must be one of \['trans', 'aver'\]"),
        ({"num_sub_networks": 0}, "`num_sub_networks` must be at least 1"),
        ({"sub_network_units": ()}, "`sub_network_units` must hold the width"),
        ({"gate": {"beta": 0.0}}, "`beta` must be above 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)
