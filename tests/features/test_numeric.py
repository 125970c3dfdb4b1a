"""Numbers: scaling, buckets, and what a missing number becomes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.features import Bucketized, Numeric, Preprocessor

NAN = float("nan")
DATA = np.array([1.0, NAN, 3.0, 8.0], np.float32)  # Mean 4, variance 26 / 3.


def fitted(feature, data=DATA):
    preprocessor = Preprocessor([feature])
    dataset = tf.data.Dataset.from_tensors({"x": data})
    preprocessor.adapt(dataset, progress=False)
    return preprocessor


def encode(feature, values=DATA, data=DATA):
    return fitted(feature, data)({"x": np.array(values)})["x"].numpy()


def test_standard_maps_missing_to_the_mean():
    outputs = encode(Numeric("x"))
    assert outputs.dtype == np.float32
    std = (26 / 3) ** 0.5
    expected = [[-3 / std], [0], [-1 / std], [4 / std]]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


def test_infinite_values_are_missing():
    outputs = encode(Numeric("x"), [np.inf, -np.inf], [*DATA, np.inf])
    np.testing.assert_array_equal(outputs, [[0], [0]])


def test_log_standard_is_standard_after_a_signed_logarithm():
    data = np.array([-3.0, 0.0, 7.0, NAN], np.float32)
    logs = np.array([-np.log(4), 0, np.log(8)])
    expected = (logs - logs.mean()) / logs.std()
    outputs = encode(Numeric("x", normalization="log_standard"), data, data)
    np.testing.assert_allclose(outputs[:, 0], [*expected, 0], rtol=1e-5, atol=1e-7)


def test_min_max_maps_the_learned_range_to_one():
    outputs = encode(Numeric("x", normalization="min_max"), [1.0, 8.0, 15.0, NAN])
    np.testing.assert_allclose(outputs[:, 0], [0, 1, 2, 3 / 7], rtol=1e-6)


def test_no_normalization_fills_in_the_mean_or_the_default():
    outputs = encode(Numeric("x", normalization=None), [5.0, NAN])
    np.testing.assert_allclose(outputs, [[5], [4]])
    unlearned = Preprocessor([Numeric("x", normalization=None, default=-1.0)])
    np.testing.assert_allclose(unlearned({"x": [5.0, NAN]})["x"], [[5], [-1]])


def test_default_is_a_raw_value():
    outputs = encode(Numeric("x", normalization="min_max", default=8.0), [NAN])
    np.testing.assert_allclose(outputs, [[1]], rtol=1e-6)


def test_indicator_marks_missing_values():
    outputs = encode(Numeric("x", indicator=True))
    assert outputs.shape == (4, 2)
    np.testing.assert_array_equal(outputs[:, 1], [0, 1, 0, 0])


def test_constant_and_unknown_columns_stay_finite():
    constant = np.full(1000, 0.1, np.float32)
    np.testing.assert_allclose(encode(Numeric("x"), [0.1, 1.1], constant), [[0], [1]])
    unknown = np.full(3, NAN, np.float32)
    np.testing.assert_allclose(encode(Numeric("x"), [NAN, 2.0], unknown), [[0], [2]])


def test_integer_and_boolean_columns_are_numbers():
    outputs = encode(Numeric("x", normalization="min_max"), [0, 10], np.array([0, 10]))
    np.testing.assert_array_equal(outputs, [[0], [1]])
    flag = Preprocessor([Numeric("x", normalization=None, default=0.0)])
    np.testing.assert_array_equal(flag({"x": [True, False]})["x"], [[1], [0]])


def test_given_boundaries_missing_edges_and_ends():
    feature = Bucketized("x", boundaries=[0.0, 10.0])
    preprocessor = Preprocessor([feature])
    values = [NAN, -np.inf, -0.1, 0.0, 9.9, 10.0, np.inf]
    outputs = preprocessor({"x": values})["x"]
    assert outputs.dtype == tf.int32
    np.testing.assert_array_equal(outputs, [0, 1, 1, 2, 2, 3, 3])
    assert preprocessor.tables() == {"x": (4, 16)}


def test_learned_boundaries_hold_equally_many_values():
    data = np.random.default_rng(0).permutation(1000).astype(np.float32)
    preprocessor = fitted(Bucketized("x", num_buckets=4), data)
    counts = np.bincount(preprocessor({"x": data})["x"])
    np.testing.assert_array_equal(counts, [0, 250, 250, 250, 250])
    assert preprocessor.tables() == {"x": (5, 16)}


def test_equal_quantiles_are_merged():
    data = np.array([0.0] * 90 + [1.0] * 10, np.float32)
    preprocessor = fitted(Bucketized("x", num_buckets=10), data)
    num_ids, _ = preprocessor.tables()["x"]
    ids = preprocessor({"x": [0.0, 1.0, NAN]})["x"].numpy()
    assert ids[0] < ids[1] < num_ids < 11
    assert ids[2] == 0


def test_a_column_without_numbers_has_one_bucket():
    unknown = np.full(3, NAN, np.float32)
    preprocessor = fitted(Bucketized("x", num_buckets=4), unknown)
    np.testing.assert_array_equal(preprocessor({"x": [NAN, 1.0]})["x"], [0, 1])


def test_lists_of_numbers_can_be_bucketized():
    feature = Bucketized("x", boundaries=[0.0], max_length=2)
    raw = {"x": tf.constant([[1.0, -1.0, NAN], [NAN, NAN, NAN]])}
    np.testing.assert_array_equal(Preprocessor([feature])(raw)["x"], [[2, 1], [0, 0]])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Numeric("x", normalization="robust"), "`normalization`"),
        (lambda: Bucketized("x"), "either `boundaries` or `num_buckets`"),
        (lambda: Bucketized("x", boundaries=[1.0], num_buckets=2), "either"),
        (lambda: Bucketized("x", num_buckets=0), "`num_buckets`"),
        (lambda: Bucketized("x", num_buckets=1), "at least 2"),
        (lambda: Bucketized("x", boundaries=[]), "at least one"),
        (lambda: Bucketized("x", boundaries=[1.0, 1.0]), "strictly rising"),
        (lambda: Bucketized("x", boundaries=[1.0, np.inf]), "finite"),
    ],
)
def test_wrong_arguments_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "feature",
    [
        Numeric("x", normalization="min_max", default=1.0, indicator=True),
        Bucketized("x", boundaries=[0.0, 1.0]),
        Bucketized("x", num_buckets=7, embedding_dim=2),
    ],
)
def test_features_survive_serialization(feature):
    config = keras.saving.serialize_keras_object(feature)
    assert keras.saving.deserialize_keras_object(config) == feature
