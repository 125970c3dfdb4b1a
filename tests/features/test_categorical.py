"""Categories: what each raw value becomes, and which settings are refused."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.features import Categorical, Hashed, IntegerRange, Preprocessor


def encode(feature, **raw):
    outputs = Preprocessor([feature])({k: np.array(v) for k, v in raw.items()})
    assert all(value.dtype in (tf.int32, tf.float32) for value in outputs.values())
    return outputs[feature.name].numpy().tolist()


def test_string_vocabulary_missing_unknown_and_known():
    feature = Categorical("city", vocabulary=["Rome", "Oslo"])
    assert encode(feature, city=["Oslo", "Rome", "Lima", ""]) == [3, 2, 1, 0]


def test_integer_vocabulary_without_missing_value_has_no_missing_id():
    feature = Categorical("x", vocabulary=[7, -1], dtype="int64")
    assert encode(feature, x=[7, -1, 0, 5]) == [2, 3, 1, 1]


def test_integer_vocabulary_with_missing_value():
    feature = Categorical("x", vocabulary=[7, 9], dtype="int64", missing_value=-1)
    assert encode(feature, x=[9, -1, -2]) == [3, 0, 1]


def test_integer_columns_may_have_any_integer_dtype():
    feature = IntegerRange("x", 3)
    assert encode(feature, x=np.array([0, 2, 3], np.uint8)) == [2, 4, 1]


def test_integer_range_edges_negative_and_missing():
    assert encode(IntegerRange("x", 3), x=[-1, 0, 2, 3, 2**40]) == [1, 2, 4, 1, 1]
    feature = IntegerRange("x", 3, missing_value=-1)
    assert encode(feature, x=[-1, -2, 0]) == [0, 1, 2]


def test_hashed_ids_are_the_same_on_every_machine():
    values = ["", "Rome", "Oslo", "Lima", "?"]
    assert encode(Hashed("x", 1000), x=values) == [0, 350, 579, 183, 66]
    assert encode(Hashed("x", 1000, salt=7), x=values) == [0, 380, 231, 30, 278]


def test_hashed_integers_are_the_same_on_every_machine():
    feature = Hashed("x", 1000, dtype="int64", missing_value=-1)
    assert encode(feature, x=[-1, 0, 17, 2**40]) == [0, 736, 839, 379]


@pytest.mark.parametrize("salt", [0, 7])
def test_hashed_equals_keras_hashing(salt):
    values = np.array([f"value {i}" for i in range(50)])
    expected = keras.layers.Hashing(10, salt=salt or None)(values).numpy() + 1
    assert encode(Hashed("x", 10, salt=salt), x=values) == expected.tolist()


def test_hashed_integer_without_missing_value_hashes_everything():
    ids = encode(Hashed("x", 4, dtype="int64"), x=list(range(-50, 50)))
    assert set(ids) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("feature", "num_ids"),
    [
        (Categorical("x", vocabulary=["a", "b"]), 4),
        (Hashed("x", 10), 11),
        (IntegerRange("x", 10), 12),
    ],
)
def test_num_ids_is_one_more_than_the_largest_id(feature, num_ids):
    assert Preprocessor([feature]).tables() == {"x": (num_ids, 16)}
    values = ["b"] if feature.raw_dtype == tf.string else [9]
    if not isinstance(feature, Hashed):
        assert encode(feature, x=values) == [num_ids - 1]


def dense(rows, fill):
    width = max(map(len, rows))
    return tf.constant([row + [fill] * (width - len(row)) for row in rows])


LISTS = [["a", "b", "c", "a"], [], ["", "z", "b"], ["c"]]
LAST = [[4, 2], [0, 0], [1, 3], [4, 0]]
FIRST = [[2, 3], [0, 0], [1, 3], [4, 0]]


@pytest.mark.parametrize(
    "lists",
    [
        tf.ragged.constant(LISTS),
        tf.ragged.constant(LISTS, row_splits_dtype="int32"),
        tf.ragged.constant(LISTS).to_sparse(),
        dense(LISTS, ""),
    ],
    ids=["ragged", "ragged32", "sparse", "dense"],
)
@pytest.mark.parametrize(("keep", "expected"), [("last", LAST), ("first", FIRST)])
def test_lists_drop_missing_then_cut_and_pad(lists, keep, expected):
    feature = Categorical("x", vocabulary=["a", "b", "c"], max_length=2, keep=keep)
    outputs = Preprocessor([feature])({"x": lists})
    assert outputs["x"].shape == (4, 2)
    np.testing.assert_array_equal(outputs["x"], expected)


def test_dense_integer_lists_are_padded_with_the_missing_value():
    feature = IntegerRange("x", 5, max_length=3, missing_value=-1)
    assert encode(feature, x=[[0, 4, -1], [-1, -1, -1], [9, -1, 1]]) == [
        [2, 6, 0],
        [0, 0, 0],
        [1, 3, 0],
    ]


def test_lists_of_no_values_and_batches_of_no_rows():
    preprocessor = Preprocessor([Hashed("x", 5, max_length=3)])
    empty_rows = preprocessor({"x": tf.zeros([2, 0], tf.string)})["x"]
    np.testing.assert_array_equal(empty_rows, np.zeros([2, 3]))
    assert preprocessor({"x": tf.zeros([0, 4], tf.string)})["x"].shape == (0, 3)


def test_weights_follow_their_values():
    feature = Categorical(
        "x", vocabulary=["a", "b"], max_length=2, combiner="sum", weights="w"
    )
    raw = {
        "x": tf.ragged.constant([["a", "", "b", "z"], [], ["b"]]),
        "w": tf.ragged.constant([[1.0, 2.0, 3.0, 4.0], [], [float("nan")]]),
    }
    outputs = Preprocessor([feature])(raw)
    np.testing.assert_array_equal(outputs["x"], [[3, 1], [0, 0], [3, 0]])
    np.testing.assert_array_equal(outputs["x_weights"], [[3, 4], [0, 0], [0, 0]])


def test_weights_of_other_lengths_are_an_error():
    feature = Hashed("x", 5, max_length=2, weights="w")
    raw = {"x": tf.ragged.constant([["a"]]), "w": tf.ragged.constant([[1.0, 2.0]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="one weight for each"):
        Preprocessor([feature])(raw)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Categorical(""), "`name`"),
        (lambda: Categorical("a/b"), "`name`"),
        (lambda: Categorical("x", embedding_dim=0), "`embedding_dim`"),
        (lambda: Categorical("x", max_length=0), "`max_length`"),
        (lambda: Categorical("x", keep="middle"), "`keep`"),
        (lambda: Categorical("x", combiner="max"), "`combiner`"),
        (lambda: Categorical("x", weights="w"), "`weights`"),
        (
            lambda: Categorical("x", max_length=2, combiner=None, weights="w"),
            "`weights`",
        ),
        (lambda: Categorical("x", table="a/b"), "`table`"),
        (lambda: Categorical("x", dtype="float32"), "`dtype`"),
        (lambda: Categorical("x", min_count=0), "`min_count`"),
        (lambda: Categorical("x", max_vocabulary_size=0), "`max_vocabulary_size`"),
        (lambda: Categorical("x", vocabulary=["a", "a"]), "distinct"),
        (lambda: Categorical("x", vocabulary=[]), "at least one"),
        (lambda: Categorical("x", vocabulary=["a", ""]), "means missing"),
        (lambda: Categorical("x", missing_value=-1), "`missing_value`"),
        (lambda: IntegerRange("x", 5, max_length=2), "`missing_value`"),
        (lambda: IntegerRange("x", 0), "`num_values`"),
        (lambda: Hashed("x", 0), "`num_bins`"),
        (lambda: Hashed("x", 5, salt=-1), "`salt`"),
    ],
)
def test_wrong_arguments_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_vocabulary_of_another_type_is_refused():
    with pytest.raises(TypeError, match="`vocabulary` must hold int"):
        Categorical("x", vocabulary=["a"], dtype="int64")


def test_features_are_immutable_equal_by_value_and_replaceable():
    feature = Categorical("x", vocabulary=["a"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        feature.name = "y"
    assert feature == Categorical("x", vocabulary=("a",))
    history = dataclasses.replace(feature, name="h", table="x", max_length=3)
    assert history.state_name == "x"


@pytest.mark.parametrize(
    "feature",
    [
        Categorical("x", vocabulary=["a", "b"], personal=True),
        Categorical("x", dtype="int64", missing_value=-1, max_length=2, weights="w"),
        Hashed("x", 10, salt=3, column="raw x", table="t"),
        IntegerRange("x", 10, embedding_dim=4),
    ],
)
def test_features_survive_serialization(feature):
    config = keras.saving.serialize_keras_object(feature)
    assert keras.saving.deserialize_keras_object(config) == feature
