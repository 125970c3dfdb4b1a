"""FeatureEmbedding and `pool` against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import features
from tf_mtl.layers import FeatureEmbedding, pool

FEATURES = (
    features.IntegerRange("user", num_values=4, embedding_dim=3),
    features.Numeric("price", normalization=None, default=0.0),
    features.IntegerRange(
        "history",
        num_values=4,
        embedding_dim=2,
        missing_value=-1,
        max_length=3,
        weights="history_weight",
    ),
)
TABLES = {"user": (6, 3), "history": (6, 2)}
INPUTS = {
    "user": np.array([1, 5, 1], "int32"),
    "price": np.array([[0.5], [-1.0], [2.0]], "float32"),
    "history": np.array([[2, 3, 0], [0, 0, 0], [4, 4, 4]], "int32"),
    "history_weights": np.array(
        [[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], "float32"
    ),
}


def make_layer(copies=1, **kwargs):
    layer = FeatureEmbedding(FEATURES, copies, **kwargs)
    layer.build(TABLES)
    return layer


def tensors():
    return {key: tf.constant(value) for key, value in INPUTS.items()}


def reference(user_table, history_table):
    """Rows joined one by one."""
    rows = []
    for i in range(3):
        vectors = history_table[INPUTS["history"][i]]
        weights = INPUTS["history_weights"][i]
        total = weights.sum()
        pooled = weights @ vectors / total if total else np.zeros(2)
        parts = [user_table[INPUTS["user"][i]], INPUTS["price"][i], pooled]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def test_joins_the_features_in_their_order():
    layer = make_layer()
    user, history = (layer.tables[name].numpy() for name in TABLES)
    np.testing.assert_allclose(
        layer(tensors()), reference(user, history), rtol=1e-5, atol=1e-7
    )


def test_copies_are_independent_embeddings_side_by_side():
    layer = make_layer(copies=2)
    user, history = (layer.tables[name].numpy() for name in TABLES)
    assert user.shape == (6, 6)
    expected = [
        reference(user[:, 3 * i : 3 * i + 3], history[:, 2 * i : 2 * i + 2])
        for i in range(2)
    ]
    np.testing.assert_allclose(layer(tensors()), expected, rtol=1e-5, atol=1e-7)


def test_gradient_of_a_table_is_sparse():
    layer = make_layer()
    variables = [table.value for table in layer.tables.values()]
    with tf.GradientTape() as tape:
        outputs = layer(tensors())
    found = tape.gradient(outputs, variables)
    assert all(isinstance(gradient, tf.IndexedSlices) for gradient in found)
    dense = tf.convert_to_tensor(found[1]).numpy()
    # Means of lists: each looked-up row gets its share of the weights of its lists.
    np.testing.assert_allclose(dense[:, 0], [0, 0, 0.25, 0.75, 1, 0], rtol=1e-6)


def test_tables_stay_float32_in_mixed_precision():
    layer = make_layer(dtype="mixed_bfloat16")
    assert layer(tensors()).dtype == tf.bfloat16
    assert {table.dtype for table in layer.tables.values()} == {"float32"}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_has_no_operation_of_the_size_of_a_table(jit_compile):
    num_ids = 100_003
    layer = FeatureEmbedding(FEATURES[:1])
    layer.build({"user": (num_ids, 3)})
    call = tf.function(layer, jit_compile=jit_compile, autograph=False)
    graph = call.get_concrete_function(tensors()).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    assert not [
        node.name
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
        if num_ids in [dim.size for dim in shape.dim]
    ]


def test_config_round_trip():
    layer = make_layer(copies=2, initializer="he_normal", name="embedding")
    clone = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert clone.get_config() == layer.get_config()
    assert clone.features == FEATURES


def test_sequences_are_refused():
    sequence = features.IntegerRange(
        "seen", num_values=4, missing_value=-1, max_length=3, combiner=None
    )
    with pytest.raises(ValueError, match=r"sequences: \['seen'\]"):
        FeatureEmbedding([sequence])


@pytest.mark.parametrize("combiner", ["mean", "sum", "sqrtn"])
def test_pool(combiner):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 4, 2)).astype("float32")
    weights = np.array([[1, 2, 0, 0], [0, 0, 0, 0], [0.5, 1, 2, 3]], "float32")
    norms = {
        "sum": lambda w: 1.0,
        "mean": lambda w: w.sum(),
        "sqrtn": lambda w: np.sqrt((w**2).sum()),
    }
    expected = [
        w @ v / norms[combiner](w) if w.any() else np.zeros(2)
        for w, v in zip(weights, vectors, strict=True)
    ]
    tensor = tf.constant(vectors)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        pooled = pool(tensor, tf.constant(weights), combiner)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-7)
    gradient = tape.gradient(pooled, tensor).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[weights == 0].any()


def test_tables_of_equal_size_start_with_different_numbers():
    specs = [features.IntegerRange(n, 50, embedding_dim=4) for n in ("a", "b")]
    tables = {"a": (52, 4), "b": (52, 4)}
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        layer = FeatureEmbedding(specs)
        layer.build(tables)
        drawn.append({name: table.numpy() for name, table in layer.tables.items()})
    assert not np.isclose(drawn[0]["a"], drawn[0]["b"]).any(axis=1).all()
    assert not np.array_equal(drawn[0]["a"], drawn[0]["b"])
    np.testing.assert_array_equal(drawn[0]["b"], drawn[1]["b"])


def test_sequences_are_given_with_their_mask_and_not_joined():
    history = features.IntegerRange(
        "history", 4, embedding_dim=2, missing_value=-1, max_length=3, combiner=None
    )
    layer = FeatureEmbedding([FEATURES[0], history], allow_sequences=True)
    layer.build(TABLES)
    inputs = {"user": tf.constant([1, 5]), "history": tf.constant([[2, 5, 0], [0] * 3])}
    assert layer(inputs).shape == (2, 3)
    vectors, mask = layer.sequences(inputs)["history"]
    table = layer.tables["history"].numpy()
    np.testing.assert_array_equal(vectors, table[inputs["history"].numpy()])
    np.testing.assert_array_equal(mask, [[True, True, False], [False] * 3])
    revived = FeatureEmbedding.from_config(layer.get_config())
    assert revived.allow_sequences
    with pytest.raises(ValueError, match="allow_sequences"):
        FeatureEmbedding([history])
