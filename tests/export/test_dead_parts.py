"""What an export leaves out: closed connections, and the state of the updater."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import export, models

from .conftest import RAW, TASKS, Saved, make_preprocessor

UNITS = 20


def make_snr(**kwargs):
    return models.SNR(
        make_preprocessor(),
        TASKS,
        num_sub_networks=3,
        sub_network_units=(UNITS, UNITS),
        tower_units=(),
        **kwargs,
    )


def close(model, connections):
    """Closes connections `(layer, output, input)`."""
    for layer, output, place in connections:
        log_alpha = model.routing[layer].gate.log_alpha
        values = log_alpha.numpy()
        values[output, place] = -10.0
        log_alpha.assign(values)


def variable_sizes(folder):
    variables = tf.train.list_variables(f"{folder}/variables/variables")
    return {
        name: int(np.prod(shape, dtype=int))
        for name, shape in variables
        if "OBJECT_GRAPH" not in name
    }


def num_weights(folder):
    info = pathlib.Path(folder, "assets.extra", "model_info.json")
    return json.loads(info.read_text())["num_weights"]


def assert_same(saved):
    predicted = saved.predict(RAW)
    for served in (saved.serve_columns(RAW), saved.serve_examples(RAW)):
        for name, values in predicted.items():
            # Open connections are added up in another order.
            np.testing.assert_allclose(served[name], values, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "closed",
    [
        [],
        [(0, 0, 1), (0, 2, 0), (1, 1, 2)],
        [(1, 0, i) for i in range(3)],  # A tower that reads nothing.
    ],
    ids=["none", "some", "all of a task"],
)
def test_export_holds_no_matrix_of_a_closed_connection(closed, tmp_path):
    model = make_snr()
    close(model, closed)
    saved = Saved(model, export.save(model, tmp_path))
    assert_same(saved)
    all_sizes = sum(v.numpy().size for v in model.trainable_variables)
    gates = sum(routing.gate.log_alpha.numpy().size for routing in model.routing)
    expected = all_sizes - gates - len(closed) * UNITS**2
    assert sum(variable_sizes(saved.folder).values()) == expected
    assert num_weights(saved.folder) == expected


def test_training_goes_on_with_all_connections(tmp_path):
    model = make_snr()
    close(model, [(0, 0, 1)])
    before = model.predict(model.features(RAW), verbose=0)
    export.save(model, tmp_path)
    model.routing[0].gate.log_alpha.assign(tf.zeros([3, 3]))
    after = model.predict(model.features(RAW), verbose=0)
    assert any(np.any(after[name] != before[name]) for name in before)


def test_connections_of_mirrored_variables_are_cut(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = make_snr()
    closed = [(0, 0, 1), (1, 1, 2)]
    close(model, closed)
    assert_same(Saved(model, export.save(model, tmp_path)))


def test_weights_of_the_updater_are_constants(tmp_path):
    model = models.DRGrad(make_preprocessor(), TASKS, num_experts=2, expert_units=(4,))
    assert model.updater.rule == "ratio"
    state = model.updater.non_trainable_variables
    state[0].assign([[0.8, 0.2]])
    saved = Saved(model, export.save(model, tmp_path))
    assert_same(saved)
    sizes = variable_sizes(saved.folder)
    assert sum(sizes.values()) == sum(v.numpy().size for v in model.trainable_variables)
    # Training goes on, and what was exported stays.
    served = saved.serve_columns(RAW)
    state[0].assign([[0.1, 0.9]])
    for name, values in saved.serve_columns(RAW).items():
        np.testing.assert_array_equal(values, served[name])
    assert np.any(saved.predict(RAW)["click"] != served["click"])
