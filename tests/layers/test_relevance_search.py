"""RelevanceSearch and FusedAttention, and both in front of a multi-task model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl.layers import FusedAttention, RelevanceSearch

BATCH, LENGTH, WIDTH, CONTENT, SIGNALS = 4, 9, 3, 5, 2
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


CONTENTS = normal(BATCH, LENGTH, CONTENT)
QUERY, TARGET = normal(BATCH, CONTENT), normal(BATCH, CONTENT)
# Enough behaviours, fewer than are kept, none, and gaps.
LENGTHS = np.array([[9], [2], [0], [7]])
MASK = np.arange(LENGTH) < LENGTHS
MASK[3, :3] = [False, True, False]


def cosine(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))


def searched(row, num_query, num_target):
    """Places of the behaviours to keep, by sorting twice."""
    places = list(np.flatnonzero(MASK[row]))
    for vector, count in ((QUERY[row], num_query), (TARGET[row], num_target)):
        places.sort(key=lambda p: -cosine(CONTENTS[row, p], vector))
        places = places[:count]
    return places


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("counts", [(5, 3), (100, 20), (4, 4)])
def test_search_equals_sorting_twice(counts, jit_compile):
    layer = RelevanceSearch(*counts)
    call = tf.function(layer, jit_compile=jit_compile)
    places, mask = call(CONTENTS, QUERY, TARGET, mask=MASK)
    assert places.dtype == tf.int32
    assert places.shape == mask.shape == (BATCH, min(counts[1], LENGTH))
    for row in range(BATCH):
        expected = searched(row, *counts)
        assert list(places[row].numpy()[mask[row]]) == expected
        # What was found comes first.
        assert list(mask[row].numpy()) == sorted(mask[row].numpy(), reverse=True)


def test_first_search_is_by_the_query():
    # The behaviour that is next to the target is far from the query.
    contents = tf.constant([[[0.0, 1.0], [1.0, 0.1], [1.0, -0.1]]])
    query, target = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    places, _ = RelevanceSearch(2, 1)(contents, query, target)
    assert places.numpy().tolist() == [[1]]


def test_length_does_not_count_and_zeros_are_neutral():
    contents = tf.constant([[[-9.0, 0.0], [0.0, 0.0], [0.1, 0.0]]])
    query = tf.constant([[1.0, 0.0]])
    places, mask = RelevanceSearch(3, 3)(contents, query, query)
    assert places.numpy().tolist() == [[2, 1, 0]]
    assert np.all(mask)


def test_search_of_a_dynamic_length_and_no_gradient():
    layer = RelevanceSearch(4, 3)
    spec = tf.TensorSpec([None, None, CONTENT]), *[tf.TensorSpec([None, CONTENT])] * 2
    call = tf.function(layer, spec)
    for length in (LENGTH, 2, 0):
        places, mask = call(CONTENTS[:, :length], QUERY, TARGET)
        assert places.shape == (BATCH, min(length, 3))
        assert np.all(mask)
    contents = tf.constant(CONTENTS)
    with tf.GradientTape() as tape:
        tape.watch(contents)
        places, _ = layer(contents, contents[:, 0], contents[:, 1])
        loss = tf.reduce_sum(tf.cast(places, tf.float32))
    assert tape.gradient(loss, contents) is None


def test_search_checks_its_arguments():
    with pytest.raises(ValueError, match="num_target=3, num_query=2"):
        RelevanceSearch(2, 3)
    layer = RelevanceSearch(5, 3, name="search")
    assert RelevanceSearch.from_config(layer.get_config()).num_query == 5


FIELDS = {
    "items": normal(BATCH, LENGTH, WIDTH),
    "contents": CONTENTS,
    "engagement": normal(BATCH, LENGTH, SIGNALS),
    "item": normal(BATCH, WIDTH),
    "content": TARGET,
}


def make_attention():
    """A layer with weights that are not those of the start."""
    layer = FusedAttention(hidden_units=(6,), gate_units=4, activation="sigmoid")
    layer(**FIELDS)
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def fused(layer, row):
    """The equations of the class, one row at a time."""
    kept = MASK[row]
    if not kept.any():
        return np.zeros(WIDTH + CONTENT)
    hidden_kernel, hidden_bias = (v.numpy() for v in layer.gate_hidden.weights)
    kernel, bias = (v.numpy() for v in layer.gate.weights)
    signals = FIELDS["engagement"][row][kept]
    hidden = np.maximum(signals @ hidden_kernel + hidden_bias, 0)
    gates = 1 / (1 + np.exp(-(hidden @ kernel + bias)[:, 0]))
    pooled = []
    for attention, field, query in (
        (layer.item_attention, "items", "item"),
        (layer.content_attention, "contents", "content"),
    ):
        k, q = FIELDS[field][row][kept], FIELDS[query][row]
        joined = [np.concatenate([q, each, q - each, q * each]) for each in k]
        first, last = attention.dense
        hidden = np.stack(joined) @ first.kernel.numpy() + first.bias.numpy()
        hidden = 1 / (1 + np.exp(-hidden))
        scores = (hidden @ last.kernel.numpy() + last.bias.numpy())[:, 0]
        pooled.append((gates * softmax(scores)) @ k)
    kernel, bias = (v.numpy() for v in layer.mixture.weights)
    shares = softmax(np.concatenate(pooled) @ kernel + bias)
    return np.concatenate([s * p for s, p in zip(shares, pooled, strict=True)])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fused_attention_equals_its_equations(jit_compile):
    layer = make_attention()
    call = tf.function(layer, jit_compile=jit_compile)
    found = call(**FIELDS, mask=MASK)
    expected = [fused(layer, row) for row in range(BATCH)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_fused_attention_checks_and_round_trip():
    with pytest.raises(ValueError, match="gate_units=0"):
        FusedAttention(gate_units=0)
    with pytest.raises(ValueError, match="width 3"):
        FusedAttention()(**FIELDS | {"item": TARGET})
    layer = FusedAttention((6,), 4, "sigmoid", name="fused")
    clone = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert clone.get_config() == layer.get_config()
    assert clone.item_attention.hidden_units == (6,)


TASKS = [tf_mtl.Task("click"), tf_mtl.Task("long_view")]
NUM_ITEMS = 30
STEPS, ROWS = 3, 8


def make_network():
    """Both units in front of a bottom and two towers."""
    inputs = {
        "history": keras.Input((LENGTH,), dtype="int32", name="history"),
        "engagement": keras.Input((LENGTH, SIGNALS), name="engagement"),
        "item": keras.Input((), dtype="int32", name="item"),
        "query": keras.Input((CONTENT,), name="query"),
    }
    contents = keras.layers.Embedding(
        NUM_ITEMS, CONTENT, "glorot_uniform", trainable=False, name="contents"
    )
    ids = keras.layers.Embedding(NUM_ITEMS, WIDTH, name="ids")
    history, content = inputs["history"], contents(inputs["item"])
    places, mask = RelevanceSearch(5, 3)(
        contents(history), inputs["query"], content, mask=history != 0
    )
    # Only what was found is looked up in the table that is trained.
    found = keras.ops.take_along_axis(history, places, axis=1)
    engagement = keras.ops.take_along_axis(
        inputs["engagement"], places[..., None], axis=1
    )
    pooled = FusedAttention(hidden_units=(6,), gate_units=4)(
        ids(found), contents(found), engagement, ids(inputs["item"]), content, mask=mask
    )
    bottom = keras.layers.Dense(4, "relu", name="bottom")(pooled)
    outputs = {task.name: keras.layers.Dense(1)(bottom) for task in TASKS}
    return keras.Model(inputs, outputs)


def make_rows():
    rng = np.random.default_rng(0)
    rows = STEPS * ROWS
    mask = np.arange(LENGTH) < rng.integers(0, LENGTH + 1, (rows, 1))
    inputs = {
        "history": (mask * rng.integers(1, NUM_ITEMS, (rows, LENGTH))).astype("int32"),
        "engagement": rng.uniform(size=(rows, LENGTH, SIGNALS)).astype("float32"),
        "item": rng.integers(1, NUM_ITEMS, rows).astype("int32"),
        "query": rng.normal(size=(rows, CONTENT)).astype("float32"),
    }
    labels = {t.name: rng.integers(0, 2, rows).astype("float32") for t in TASKS}
    return inputs, labels


def test_both_units_train_in_front_of_a_multi_task_model(tmp_path):
    inputs, labels = make_rows()
    runs = []
    for mode in ({"run_eagerly": True}, {"jit_compile": True}):
        keras.utils.set_random_seed(0)
        model = tf_mtl.MultiTask(make_network(), TASKS)
        before = {v.path: v.numpy() for v in model.trainable_variables}
        frozen = model.network.get_layer("contents").get_weights()
        model.compile(keras.optimizers.SGD(0.1), "gradcraft", **mode)
        model.fit(inputs, labels, batch_size=ROWS, shuffle=False, verbose=0)
        for variable in model.trainable_variables:
            assert not np.array_equal(variable.numpy(), before[variable.path])
        np.testing.assert_array_equal(
            model.network.get_layer("contents").get_weights(), frozen
        )
        runs.append(model)
    eager, xla = (model.get_weights() for model in runs)
    for a, e in zip(xla, eager, strict=True):
        # Reductions of XLA add up in another order.
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-5)
    model = runs[1]
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(inputs, verbose=0)
    for name, values in revived.predict(inputs, verbose=0).items():
        np.testing.assert_array_equal(values, expected[name])
