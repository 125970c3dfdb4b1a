"""The preprocessor: one pass, one meaning in data sets, examples and calls."""

import dataclasses
import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import features
from tf_mtl.features import (
    Bucketized,
    Categorical,
    Hashed,
    IntegerRange,
    Numeric,
    Preprocessor,
)

ITEM = Categorical("item", embedding_dim=8, personal=True)
FEATURES = [
    ITEM,
    dataclasses.replace(ITEM, name="seen", table="item", max_length=2, combiner=None),
    Hashed("tags", 20, max_length=3, weights="tag_weights"),
    IntegerRange("hour", 24, missing_value=-1),
    Categorical("code", dtype="int64"),
    Numeric("age", indicator=True),
    Bucketized("age_bucket", num_buckets=2, column="age"),
]
ROWS = [
    # item, seen, tags, tag_weights, hour, code, age
    ("a", ["b", "b", "c"], ["x", "y"], [0.5, 2.0], 3, 7, 20.0),
    ("b", [], ["x"], [1.0], 23, 7, 40.0),
    ("", ["a", "b"], [], [], -1, 5, float("nan")),
]
NAMES = ("item", "seen", "tags", "tag_weights", "hour", "code", "age")
LISTS = ("seen", "tags", "tag_weights")


def raw_batch():
    columns = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    return {
        name: tf.ragged.constant(values) if name in LISTS else tf.constant(values)
        for name, values in columns.items()
    }


def dataset(batch_size=2):
    rows = tf.data.Dataset.from_tensor_slices(raw_batch())
    return rows.batch(batch_size)


@pytest.fixture(scope="module")
def adapted():
    result = Preprocessor(FEATURES)
    result.adapt(dataset(), progress=False)
    return result


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


# Items and seen items together: b 4 times, a twice, c once.
EXPECTED = {
    "item": [3, 2, 0],
    "seen": [[2, 4], [0, 0], [3, 2]],
    "tags": None,
    "tags_weights": [[0.5, 2, 0], [1, 0, 0], [0, 0, 0]],
    "hour": [5, 25, 0],
    "code": [2, 2, 3],
    "age": [[-1, 0], [1, 0], [0, 1]],
    "age_bucket": [1, 2, 0],
}


def test_call_maps_every_kind(adapted):
    outputs = adapted(raw_batch())
    assert list(outputs) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        if expected is not None:
            np.testing.assert_allclose(outputs[name], expected, err_msg=name)


def test_outputs_match_model_inputs(adapted):
    outputs = adapted(raw_batch())
    inputs = adapted.model_inputs()
    assert list(inputs) == list(outputs)
    for name, symbol in inputs.items():
        assert symbol.shape[1:] == tuple(outputs[name].shape[1:])
        assert symbol.dtype == outputs[name].dtype.name


def test_tables_share_and_keep_order(adapted):
    assert list(adapted.tables().items()) == [
        ("item", (5, 8)),
        ("tags", (21, 16)),
        ("hour", (26, 16)),
        ("code", (4, 16)),
        ("age_bucket", (3, 16)),
    ]


def test_adapt_reads_the_data_once():
    passes, rows = [], []

    def generate():
        passes.append(1)
        for age in range(10):
            rows.append(age)
            yield {"age": float(age), "city": f"city {age}"}

    signature = {
        "age": tf.TensorSpec([], tf.float32),
        "city": tf.TensorSpec([], tf.string),
    }
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    result = Preprocessor(
        [
            Categorical("city"),
            Numeric("age"),
            Bucketized("age_bucket", num_buckets=3, column="age"),
        ]
    )
    result.adapt(data, progress=False)
    assert (len(passes), len(rows)) == (1, 10)
    assert result.tables()["city"].num_ids == 12


def test_nothing_to_learn_needs_no_adapt_and_no_pass():
    def generate():
        raise AssertionError("The data was read.")
        yield

    signature = {"x": tf.TensorSpec([], tf.string)}
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    result = Preprocessor([Hashed("x", 5)])
    assert result.adapted
    result.adapt(data)


def test_batches_tuples_and_rows_teach_the_same(adapted):
    expected = adapted(raw_batch())
    rows = tf.data.Dataset.from_tensor_slices(raw_batch())
    labelled = dataset(3).map(lambda raw: (raw, tf.zeros(3), tf.ones(3)))
    for data in (rows, rows.shuffle(3, seed=0), labelled, dataset(1)):
        other = Preprocessor(FEATURES)
        other.adapt(data, progress=False)
        assert_same(other(raw_batch()), expected)


def test_unbatched_dense_lists_of_any_length():
    def generate():
        yield {"x": ["a", "b"]}
        yield {"x": ["b"]}

    signature = {"x": tf.TensorSpec([None], tf.string)}
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    result = Preprocessor([Categorical("x", max_length=2)])
    result.adapt(data, progress=False)
    np.testing.assert_array_equal(result({"x": [["a", "b"]]})["x"], [[3, 2]])


def test_adapt_again_forgets_and_older_data_sets_keep_working():
    result = Preprocessor([Categorical("x")])
    result.adapt(tf.data.Dataset.from_tensors({"x": ["a"]}), progress=False)
    assert result({"x": ["a", "b"]})["x"].numpy().tolist() == [2, 1]
    result.adapt(tf.data.Dataset.from_tensors({"x": ["b"]}), progress=False)
    assert result({"x": ["a", "b"]})["x"].numpy().tolist() == [1, 2]


def test_progress_is_shown_only_on_request(capsys):
    result = Preprocessor([Categorical("x")])
    data = tf.data.Dataset.from_tensors({"x": ["a"]})
    result.adapt(data, progress=False)
    assert capsys.readouterr().out == ""
    result.adapt(data)
    assert "1/1" in capsys.readouterr().out


def test_apply_maps_features_only(adapted):
    data = dataset(2).map(lambda raw: (raw, tf.shape(raw["item"])[0]))
    mapped = list(adapted.apply(data))
    assert [int(size) for _, size in mapped] == [2, 1]
    joined = {
        name: np.concatenate([batch[name] for batch, _ in mapped]) for name in EXPECTED
    }
    assert_same(joined, adapted(raw_batch()))
    (batch,) = adapted.apply(dataset(3))
    assert_same(batch, adapted(raw_batch()))


def test_extra_columns_are_ignored(adapted):
    raw = raw_batch() | {"unused": tf.zeros([3, 1, 7])}
    assert_same(adapted(raw), adapted(raw_batch()))


def test_float16_policy_leaves_numbers_alone():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        result = Preprocessor([Numeric("x", normalization=None, default=0.0)])
        assert result({"x": [123456.0]})["x"].numpy() == [[123456.0]]
    finally:
        keras.config.set_dtype_policy(policy)


def serialized(row):
    features = {}
    for name, value in zip(NAMES, row, strict=True):
        values = value if isinstance(value, list) else [value]
        # What is missing is absent from an example.
        values = [v for v in values if v not in ("", -1) and v == v]
        if name in ("hour", "code"):
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        elif name in ("age", "tag_weights"):
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            values = [v.encode() for v in values]
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if values:
            features[name] = feature
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


def test_parsing_spec_reads_absent_features_as_missing(adapted):
    spec = adapted.parsing_spec(labels=["click"])
    parsed = tf.io.parse_example([serialized(row) for row in ROWS], spec)
    assert np.isnan(parsed.pop("click")).all()
    assert_same(adapted(parsed), adapted(raw_batch()))


def test_parsing_requires_integers_without_missing_value(adapted):
    empty = tf.train.Example().SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="code"):
        tf.io.parse_example([empty], adapted.parsing_spec())


def test_raw_signature_has_the_types_of_the_columns(adapted):
    signature = adapted.raw_signature()
    assert set(signature) == set(NAMES)
    assert signature["item"] == tf.TensorSpec([None], tf.string, "item")
    assert signature["seen"] == tf.TensorSpec([None, None], tf.string, "seen")
    assert signature["hour"] == tf.TensorSpec([None], tf.int64, "hour")
    assert signature["age"] == tf.TensorSpec([None], tf.float32, "age")


def test_describe_has_one_line_for_each_feature(adapted):
    header, *lines = adapted.describe().splitlines()
    assert header.split()[:3] == ["feature", "kind", "column"]
    assert [line.split()[0] for line in lines] == [f.name for f in FEATURES]
    assert "5 x 8" in lines[1]
    assert lines[0].endswith("yes")


def test_docstring_example():
    tests = doctest.DocTestFinder().find(
        Preprocessor, globs={**vars(features), "tf": tf}
    )
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.summarize().failed == 0
    assert runner.tries > 0


def test_use_before_adapt_is_an_error():
    result = Preprocessor([Categorical("x"), Hashed("y", 5)])
    for use in (
        lambda: result({"x": ["a"], "y": ["b"]}),
        lambda: result.apply(tf.data.Dataset.from_tensors({"x": ["a"], "y": ["b"]})),
        result.tables,
    ):
        with pytest.raises(ValueError, match=r"must be adapted.*\['x'\]"):
            use()


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ({"y": ["a"]}, ValueError, r"'x' is missing.*\['y'\]"),
        ({"x": [1]}, TypeError, "Column 'x' is read as string"),
        ({"x": [["a"]]}, ValueError, "Column 'x' must have shape"),
        (["a"], TypeError, "feature dictionaries"),
    ],
)
def test_adapt_refuses_wrong_data(data, error, match):
    with pytest.raises(error, match=match):
        Preprocessor([Categorical("x")]).adapt(tf.data.Dataset.from_tensors(data))


def test_adapt_refuses_empty_and_endless_data():
    data = tf.data.Dataset.from_tensors({"x": ["a"]})
    with pytest.raises(ValueError, match="at least one row"):
        Preprocessor([Categorical("x")]).adapt(data.take(0), progress=False)
    with pytest.raises(ValueError, match="must be finite"):
        Preprocessor([Categorical("x")]).adapt(data.repeat())


def test_call_names_a_missing_column(adapted):
    raw = raw_batch()
    del raw["hour"]
    with pytest.raises(ValueError, match="'hour' is missing"):
        adapted(raw)


def test_apply_refuses_single_rows(adapted):
    rows = tf.data.Dataset.from_tensor_slices(raw_batch())
    with pytest.raises(ValueError, match="must be batched"):
        adapted.apply(rows)


def test_labels_are_not_features(adapted):
    with pytest.raises(ValueError, match=r"`labels`.*\['age'\]"):
        adapted.parsing_spec(labels=["age"])


@pytest.mark.parametrize(
    ("specs", "error", "match"),
    [
        ([], ValueError, "at least one feature"),
        (["age"], TypeError, "Categorical, Hashed, IntegerRange, Numeric, Bucketized"),
        ([Numeric("x"), Hashed("x", 3)], ValueError, r"distinct names.*\['x'\]"),
        (
            [Hashed("x", 3, max_length=2, weights="w"), Numeric("x_weights")],
            ValueError,
            r"\['x_weights'\]",
        ),
        (
            [Categorical("x"), Categorical("y", table="x", min_count=2)],
            ValueError,
            r"share table 'x'.*\['min_count'\]",
        ),
        (
            [Categorical("x"), Hashed("y", 3, table="x")],
            ValueError,
            r"share table 'x'.*type",
        ),
        ([Numeric("x"), Categorical("y", table="x")], ValueError, "has no table"),
        (
            [Numeric("x"), Categorical("y", column="x")],
            ValueError,
            "read in one way",
        ),
    ],
)
def test_features_that_do_not_fit_together_are_refused(specs, error, match):
    with pytest.raises(error, match=match):
        Preprocessor(specs)
