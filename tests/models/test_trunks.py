"""Every trunk, and attention over a sequence, under two architectures."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import export, features, layers, models

from .problem import (
    ARCHITECTURES,
    FEATURES,
    TASKS,
    as_tensors,
    assert_same,
    is_different,
    make_model,
    make_sgd,
    variable_groups,
)

ROWS, STEPS = 8, 2
# Two tasks compile faster.
PAIR = TASKS[:2]
USER, ITEM = (dataclasses.replace(f, embedding_dim=3) for f in FEATURES[:2])
PRICE = FEATURES[3]
HISTORY = dataclasses.replace(
    ITEM, name="history", column="seen", max_length=4, combiner=None
)
# Architectures that give each task embeddings of its own.
OWN = ("single_task", "stem")
ATTENTION = {"history": {"target_attention": {"query": "item", "hidden_units": [4]}}}

# Features and arguments, as a command line would give them.
TRUNKS = {
    "cross_matrix": {"trunk": {"cross_network": {"projection_dim": 2}}},
    "cross_vector": {"trunk": {"cross_network": {"kind": "vector", "concat": False}}},
    "factorization_machine": {"trunk": "factorization_machine"},
    "compressed_interaction": {
        "trunk": {"compressed_interaction": {"units": [4, 2], "activation": "tanh"}}
    },
    "attention": {"pooling": ATTENTION},
}


def cases():
    """Each trunk under both architectures; one of the two is not slow."""
    names = ("shared_bottom", "mmoe")
    return [
        pytest.param(
            (name, trunk),
            id=f"{name}-{trunk}",
            marks=() if name == names[turn % 2] else pytest.mark.slow,
        )
        for turn, trunk in enumerate(TRUNKS)
        for name in names
    ]


def make(name, trunk):
    specs = [USER, ITEM, PRICE, *([HISTORY] if trunk == "attention" else [])]
    arguments = json.loads(json.dumps(TRUNKS[trunk]))
    model = make_model(name, PAIR, features=specs, **arguments)
    # Products of vectors as small as those of the start would be lost in rounding.
    for seed, table in enumerate(model.embedding.tables.values()):
        table.assign(keras.random.normal(table.shape, seed=seed))
    return model


def parts(model):
    """Trunk and pooling."""
    trunk = [] if model.trunk is None else [model.trunk]
    return [*trunk, *model.pooling.values()]


def make_raw(rows=ROWS):
    """Raw columns; the first history is empty."""
    rng = np.random.default_rng(0)
    seen = np.where(np.arange(4) < np.arange(rows)[:, None] % 5, 1, -1)
    return {
        "user": rng.integers(0, 9, rows),
        "item": rng.integers(0, 5, rows),
        "seen": np.where(seen > 0, rng.integers(0, 5, (rows, 4)), -1),
        "price": rng.normal(size=rows).astype("float32"),
    }


def make_data(model, rows=ROWS):
    rng = np.random.default_rng(1)
    labels = {
        task.name: rng.integers(0, 2, rows).astype("float32") for task in model.tasks
    }
    return model.features(as_tensors(make_raw(rows))), labels


def fitted(name, trunk, **mode):
    model = make(name, trunk)
    model.compile(make_sgd(), "gradcraft", **mode)
    model.fit(*make_data(model), batch_size=ROWS // STEPS, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module", params=cases())
def case(request):
    """Name, trunk, and a model after two steps compiled by XLA."""
    return *request.param, fitted(*request.param, jit_compile=True)


def test_xla_step_equals_the_eager_one(case):
    name, trunk, model = case
    eager = fitted(name, trunk, run_eagerly=True)
    # Reductions of XLA add up in another order.
    assert_same(model.get_weights(), eager.get_weights(), rtol=1e-3, atol=1e-5)
    fresh = make(name, trunk)
    for trained, start in zip(
        model.trainable_variables, fresh.trainable_variables, strict=True
    ):
        assert is_different([trained.numpy()], [start.numpy()]), trained.path


def test_saved_and_exported_models_answer_as_predict_does(case, tmp_path):
    *_, model = case
    inputs, _ = make_data(model)
    expected = model.predict(inputs, verbose=0)
    assert any(np.ptp(values) > 0 for values in expected.values())
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    for layer, before in zip(parts(revived), parts(model), strict=True):
        assert layer.get_config() == before.get_config()
    for name, values in revived.predict(inputs, verbose=0).items():
        np.testing.assert_array_equal(values, expected[name])
    served = tf.saved_model.load(export.save(model, tmp_path / "served"))
    signature = served.signatures["serving_default"]
    read = signature.structured_input_signature[1]
    raw = {name: tf.constant(v) for name, v in make_raw().items() if name in read}
    for name, values in signature(**raw).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_all_tasks_share_trunk_and_pooling(case):
    *_, model = case
    groups = variable_groups(model)
    (layer,) = parts(model)
    paths = [v.path for v in layer.trainable_variables]
    assert paths or isinstance(layer, layers.FactorizationMachine)
    everyone = (frozenset(task.name for task in PAIR),)
    assert {groups[path] for path in paths} <= {everyone}


def test_batch_of_one_row(case):
    *_, model = case
    inputs, labels = make_data(model)
    one = {name: tensor[:1] for name, tensor in inputs.items()}
    expected = model.predict(inputs, verbose=0)
    for name, values in model.predict(one, verbose=0).items():
        np.testing.assert_allclose(values, expected[name][:1], rtol=1e-5)
    fresh = make(*case[:2])
    fresh.compile(make_sgd(), "gradcraft", run_eagerly=True)
    fresh.fit(one, {name: label[:1] for name, label in labels.items()}, verbose=0)
    assert all(np.isfinite(w).all() for w in fresh.get_weights())


@pytest.mark.parametrize("trunk", ["compressed_interaction", "cross_network"])
@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"multi_task", *OWN}))
def test_every_architecture_takes_trunk_and_pooling(name, trunk):
    specs = [USER, ITEM, PRICE, HISTORY]
    model = make_model(name, PAIR, features=specs, trunk=trunk, pooling=ATTENTION)
    layer = layers.get("trunk", trunk)
    assert isinstance(model.trunk, type(layer))
    groups = variable_groups(model)
    everyone = (frozenset(task.name for task in PAIR),)
    for part in parts(model):
        assert {groups[v.path] for v in part.trainable_variables} == {everyone}


@pytest.mark.parametrize("name", OWN)
def test_embeddings_of_each_task_take_no_trunk(name):
    with pytest.raises(ValueError, match="takes no `trunk` or `pooling`"):
        make_model(name, PAIR, features=[USER, ITEM], trunk="cross_network")


def test_numbers_pass_an_interaction_by():
    model = make("shared_bottom", "factorization_machine")
    inputs, _ = make_data(model)
    vectors = model.feature_vectors(inputs, training=False)
    user, item, price = (vectors[name].numpy() for name in ("user", "item", "price"))
    expected = np.concatenate([price, user, item, user * item], axis=1)
    found = model.embed(inputs, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_keras_layer_reads_the_joined_vectors():
    dense = keras.layers.Dense(2)
    model = make_model("shared_bottom", features=[USER, PRICE], trunk=dense)
    inputs, _ = make_data(model)
    vectors = model.feature_vectors(inputs, training=False)
    joined = tf.concat([vectors["user"], vectors["price"]], axis=1)
    np.testing.assert_array_equal(model.embed(inputs, training=False), dense(joined))


def test_pooling_reads_the_sequence_and_its_query():
    model = make("shared_bottom", "attention")
    inputs, _ = make_data(model)
    vectors = model.feature_vectors(inputs, training=False)
    table = model.embedding.tables["items"].numpy()
    ids = inputs["history"].numpy()
    expected = model.pooling["history"](table[ids], vectors["item"], mask=ids != 0)
    np.testing.assert_allclose(vectors["history"], expected, rtol=1e-5, atol=1e-7)
    assert not vectors["history"][0].numpy().any()
    assert vectors["history"].numpy().any()


@pytest.mark.parametrize(
    ("specs", "arguments", "error", "message"),
    [
        ([USER, HISTORY], {}, ValueError, r"`pooling`: \{'history'"),
        (
            [USER, HISTORY],
            {"pooling": {"histroy": {"target_attention": {"query": "user"}}}},
            ValueError,
            r"every sequence.*\['histroy'\], sequences: \['history'\]",
        ),
        (
            [ITEM, HISTORY, dataclasses.replace(HISTORY, name="liked")],
            {"pooling": ATTENTION},
            ValueError,
            r"sequences: \['history', 'liked'\]",
        ),
        (
            [USER, ITEM],
            {"pooling": {"user": {"target_attention": {"query": "item"}}}},
            ValueError,
            "combiner=None",
        ),
        (
            [USER, HISTORY],
            {"pooling": ATTENTION},
            ValueError,
            r"`query` .*'history'.*\['user'\]. Received: query='item'",
        ),
        (
            [USER, HISTORY],
            {"pooling": {"history": "target_attention"}},
            ValueError,
            "query=None",
        ),
        (
            [USER, HISTORY],
            {"pooling": {"history": keras.layers.GlobalAveragePooling1D()}},
            TypeError,
            "with a `query`",
        ),
        (
            [FEATURES[0], dataclasses.replace(ITEM, embedding_dim=2)],
            {"trunk": "compressed_interaction"},
            ValueError,
            r"one `embedding_dim`.*\{'user': 3, 'item': 2\}.*CrossNetwork",
        ),
        (
            [USER, PRICE],
            {"trunk": "factorization_machine"},
            ValueError,
            "two or more features with ids",
        ),
        ([USER], {"trunk": "cross"}, ValueError, "`trunk` must be one of"),
    ],
)
def test_constructor_refuses(specs, arguments, error, message):
    with pytest.raises(error, match=message):
        models.SharedBottom(specs, PAIR, **arguments)


def test_width_of_the_query_is_checked():
    specs = [features.IntegerRange("item", 5, embedding_dim=2), HISTORY]
    with pytest.raises(ValueError, match="query='item' of width 2"):
        models.SharedBottom(specs, PAIR, pooling=ATTENTION)
