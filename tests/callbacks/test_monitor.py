"""Monitor: when it looks, what it may copy and how it names what it logs."""

import itertools

import keras
import numpy as np
import pytest

from tf_mtl import Task, callbacks, features, models
from tf_mtl.callbacks.monitor import column, parts, read_log

RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(64, 1)).astype(np.float32)}
SIGNS = (INPUTS["x"][:, 0] > 0).astype(np.float32)


def make_model(names=("a", "b"), **kwargs):
    keras.utils.set_random_seed(0)
    model = models.SharedBottom(
        [features.Numeric("x", normalization=None, default=0.0)],
        [Task(name) for name in names],
        bottom_units=(4,),
        tower_units=(),
    )
    model.compile("adam", jit_compile=False, **kwargs)
    return model


def make_labels(names=("a", "b")):
    return {name: np.roll(SIGNS, i) for i, name in enumerate(names)}


def fit(model, folder, every, epochs=1, inputs=INPUTS):
    """Trains, four batches an epoch. Returns what was logged."""
    labels = make_labels([task.name for task in model.tasks])
    monitor = callbacks.ConflictMonitor(folder, (INPUTS, labels), every)
    model.fit(inputs, labels, 16, epochs, verbose=0, shuffle=False, callbacks=[monitor])
    return read_log(folder / "conflicts.csv")


def steps(rows):
    return [row["step"] for row in rows]


def test_each_execution_counts_the_steps_it_takes(tmp_path):
    # Executions begin at the steps 0, 3, 4 and 7: the last of an epoch is shorter.
    model = make_model(steps_per_execution=3)
    assert steps(fit(model, tmp_path, every=2, epochs=2)) == [0, 3, 4, 7]
    assert int(model.optimizer.iterations) == 8


def test_a_resumed_run_looks_where_the_whole_one_does(tmp_path):
    model = make_model(steps_per_execution=4)
    whole = steps(fit(model, tmp_path / "whole", every=6, epochs=4))
    model = make_model(steps_per_execution=4)
    fit(model, tmp_path / "parts", every=6, epochs=2)
    parts = steps(fit(model, tmp_path / "parts", every=6, epochs=2))
    assert parts == whole == [0, 8, 12]


@pytest.mark.parametrize("bad", [1, 2])
def test_a_skipped_update_is_no_step(bad, tmp_path):
    inputs = {"x": INPUTS["x"].copy()}
    inputs["x"][16 * bad] = np.inf
    with pytest.warns(UserWarning, match="were skipped"):
        rows = fit(make_model(), tmp_path, every=2, epochs=2, inputs=inputs)
    assert steps(rows) == [0, 2, 4]


@pytest.mark.parametrize(
    "names", [("like", "like_share", "share_now", "now"), ("a", "a:b", "b:c", "c")]
)
def test_each_pair_has_columns_of_its_own(names, tmp_path):
    rows = fit(make_model(names), tmp_path, every=100)
    pairs = list(itertools.combinations(names, 2))
    expected = {column(k, *pair) for k in ("cosine", "norm_ratio") for pair in pairs}
    assert set(rows[0]) == {"step", *expected}
    assert len(expected) == 2 * len(pairs)


def test_names_of_columns():
    assert column("cosine", "like", "share_now") == "cosine:like:share_now"
    assert column("cosine", "a:b", "50%3A") == "cosine:a%3Ab:50%253A"
    assert parts("cosine:a%3Ab:50%253A") == ["cosine", "a:b", "50%3A"]
    assert parts("step") == ["step"]


def test_log_of_other_tasks_is_not_gone_on_with(tmp_path):
    fit(make_model(), tmp_path, every=2)
    other = make_model(["a", "c"])
    other.optimizer.iterations.assign(4)
    with pytest.raises(ValueError, match="'cosine:a:b'.*not.*'cosine:a:c'"):
        fit(other, tmp_path, every=2)


def make_network():
    """A network with running means and dropout around a frozen table, and the table."""
    keras.utils.set_random_seed(0)
    table = keras.layers.Embedding(2, 2, trainable=False)
    inputs = keras.Input((1,), name="x")
    hidden = keras.layers.BatchNormalization()(inputs)
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(4)(hidden))
    ids = keras.ops.cast(inputs[:, 0] > 0, "int32")
    hidden = keras.layers.Concatenate()([hidden, table(ids)])
    outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("a", "b")}
    network = keras.Model({"x": inputs}, outputs)
    model = models.MultiTask(network, [Task("a"), Task("b")])
    model.compile("adam", jit_compile=False)
    return model, table


def test_a_look_leaves_a_frozen_table_alone_and_puts_all_else_back(
    tmp_path, monkeypatch
):
    watched, table = make_network()

    def fail(value):
        pytest.fail("A frozen table was written.")

    monkeypatch.setattr(table.embeddings, "assign", fail)
    assert steps(fit(watched, tmp_path, every=2)) == [0, 2]
    unwatched, _ = make_network()
    unwatched.fit(INPUTS, make_labels(), 16, verbose=0, shuffle=False)
    for actual, expected in zip(
        watched.get_weights(), unwatched.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
