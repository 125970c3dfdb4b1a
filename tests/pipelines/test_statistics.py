import pickle

import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines.data.statistics import StatisticsFn

from .statistics_rows import make_batch, make_statistics

FIRST = {
    "age": [20, 30, None],
    "city": [b"Oslo", b"Rome", b"Rome"],
    "tags": [[b"a", b"b"], [], [b"a"]],
}
SECOND = {"age": [0, 50, 100], "city": [b"Lima", None, b"Rome"], "gain": [0.5, 1.5, 1]}


@pytest.fixture(scope="module")
def features():
    statistics = make_statistics(FIRST, SECOND)
    assert statistics.num_examples == 6
    return {feature.path.step[0]: feature for feature in statistics.features}


def test_numbers_are_counted(features):
    age = features["age"]
    assert age.type == statistics_pb2.FeatureNameStatistics.INT
    numbers = age.num_stats
    assert (numbers.min, numbers.max, numbers.median) == (0, 100, 30)
    assert numbers.num_zeros == 1
    values = [20, 30, 0, 50, 100]
    np.testing.assert_allclose(numbers.mean, np.mean(values))
    np.testing.assert_allclose(numbers.std_dev, np.std(values))
    assert numbers.common_stats.num_missing == 1


def test_strings_are_counted(features):
    found = features["city"].string_stats
    assert found.unique == 3
    assert found.avg_length == 4
    buckets = found.rank_histogram.buckets
    assert {bucket.label: bucket.sample_count for bucket in buckets} == {
        "Rome": 3,
        "Lima": 1,
        "Oslo": 1,
    }
    assert found.top_values[0].value == "Rome"


def test_lists_are_counted_and_empty_ones_are_missing(features):
    common = features["tags"].string_stats.common_stats
    assert (common.min_num_values, common.max_num_values) == (1, 2)
    assert common.num_non_missing == 2
    assert common.tot_num_values == 3


def test_column_that_one_batch_lacks_is_missing_there(features):
    common = features["gain"].num_stats.common_stats
    assert (common.num_non_missing, common.num_missing) == (3, 3)


def test_batches_in_one_or_apart_give_the_same():
    rows = np.random.default_rng(0).integers(0, 50, 600).tolist()
    whole = make_statistics({"x": rows})
    parts = make_statistics(*({"x": rows[i : i + 100]} for i in range(0, 600, 100)))
    assert whole == parts


def test_accumulators_travel_between_processes():
    fn = StatisticsFn("train")
    accumulator = fn.add_input(fn.create_accumulator(), make_batch(FIRST))
    copied = pickle.loads(pickle.dumps(accumulator))
    assert fn.extract_output(copied) == fn.extract_output(accumulator)


def test_nan_is_counted_apart():
    [feature] = make_statistics({"x": [1.0, float("nan"), 3.0]}).features
    assert feature.num_stats.mean == 2.0
    assert feature.num_stats.histograms[0].num_nan == 1


def test_column_without_a_value_is_left_out():
    batch = pa.RecordBatch.from_pydict({"x": [None, None], "y": [[1], [2]]})
    fn = StatisticsFn("train")
    proto = fn.extract_output(fn.add_input(fn.create_accumulator(), batch))
    assert [feature.path.step[0] for feature in proto.features] == ["y"]


@pytest.mark.parametrize("is_apart", [True, False])
def test_column_of_two_types_is_named(is_apart):
    numbers, strings = {"x": [1]}, {"x": [b"one"]}
    with pytest.raises(ValueError, match="Column 'x'.*INT and STRING"):
        if is_apart:
            make_statistics(numbers, strings)
        else:
            fn = StatisticsFn("train")
            accumulator = fn.add_input(fn.create_accumulator(), make_batch(numbers))
            fn.add_input(accumulator, make_batch(strings))
