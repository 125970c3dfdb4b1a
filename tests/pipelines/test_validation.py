import re

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from pipelines.data import schemas, validation
from pipelines.data.distances import distance

from .statistics_rows import make_statistics

JENSEN_SHANNON = "jensen_shannon_divergence"
ROWS = {
    "age": list(range(100)),
    "city": [b"Oslo", b"Rome", b"Lima", b"Rome"] * 25,
}


def infer(rows=ROWS, max_unseen=0.05):
    return schemas.infer(
        make_statistics(rows),
        max_domain=10,
        max_unseen=max_unseen,
        max_skew=0.1,
        max_drift=0.1,
    )


def check(rows, schema=None, **others):
    """Anomalies of rows, by feature."""
    others = {name: make_statistics(each) for name, each in others.items()}
    anomalies = validation.validate(make_statistics(rows), schema or infer(), **others)
    assert isinstance(anomalies, anomalies_pb2.Anomalies)
    return anomalies


def lines(*arguments, **options):
    return validation.describe(check(*arguments, **options))


def test_schema_describes_the_rows():
    age, city = infer().feature
    assert (age.name, age.type) == ("age", schema_pb2.INT)
    assert age.presence.min_fraction == 1.0
    assert (age.value_count.min, age.value_count.max) == (1, 1)
    assert list(city.string_domain.value) == ["Lima", "Oslo", "Rome"]
    assert city.drift_comparator.infinity_norm.threshold == 0.1


def test_missing_values_are_allowed_where_there_were_some():
    [age] = infer({"age": [1, None]}).feature
    assert not age.presence.min_fraction


def test_same_rows_have_no_anomaly():
    assert lines(ROWS, training=ROWS, previous=ROWS) == []


def test_columns_that_come_or_go_are_named():
    found = lines({"age": ROWS["age"], "zip": [1] * 100})
    assert found == [
        "city: The column is in the schema and not in the data.",
        "zip: The column is in the data and not in the schema.",
    ]


def test_columns_may_be_compared_with_the_run_before():
    rows = {"age": [0.5] * 100, "zip": [1] * 100}
    schema = infer(rows)
    assert not any("column" in line for line in lines(rows, schema, previous=ROWS))
    anomalies = validation.validate(
        make_statistics(rows),
        schema,
        previous=make_statistics(ROWS),
        compare_columns=True,
    )
    found = validation.describe(anomalies)
    assert found[0].startswith("age: The type was INT in the run before, it is FLOAT.")
    assert found[1:] == [
        "city: The column was in the run before.",
        "zip: The column was not in the run before.",
    ]


def test_other_type_is_named():
    assert lines({**ROWS, "age": [b"young"] * 100}) == [
        "age: Expected INT, found BYTES."
    ]


def test_missing_values_are_named():
    [line] = lines({**ROWS, "age": [None] * 50 + list(range(50))})
    assert line == (
        "age: Present in 50.00% of the examples, expected in at least 100.00%."
    )


def test_more_values_than_expected_are_named():
    [line] = lines({**ROWS, "age": [[1, 2]] * 100})
    assert line == "age: 2 values in an example, at most 1."


@pytest.mark.parametrize(("unseen", "is_wrong"), [(4, False), (6, True)])
def test_unseen_values_are_named_beyond_their_share(unseen, is_wrong):
    rows = {**ROWS, "city": [b"Bonn"] * unseen + ROWS["city"][unseen:]}
    found = lines(rows)
    assert bool(found) == is_wrong
    if is_wrong:
        assert "6.00% of the values are not in the domain" in found[0]
        assert "'Bonn'" in found[0]


def test_range_of_a_corrected_schema_is_checked():
    schema = infer()
    schema.feature[0].int_domain.min = 0
    schema.feature[0].int_domain.max = 50
    assert lines(ROWS, schema) == ["age: The largest value is 99, allowed up to 50."]


def test_drift_of_strings_is_measured():
    rows = {**ROWS, "city": [b"Rome"] * 20 + ROWS["city"][20:]}
    anomalies = check(rows, previous=ROWS)
    assert validation.describe(anomalies) == []
    measured = {
        info.path.step[0]: info.drift_measurements[0].value
        for info in anomalies.drift_skew_info
    }
    assert measured == {"age": 0.0, "city": pytest.approx(0.1)}
    more = {**ROWS, "city": [b"Rome"] * 40 + ROWS["city"][40:]}
    assert lines(more, previous=ROWS) == [
        "city: Drift from the run before is 0.200, allowed 0.100 "
        "(frequency of 'Rome' +0.200)."
    ]


def test_drift_of_numbers_is_measured():
    rows = {**ROWS, "age": list(range(50, 150))}
    [line] = lines(rows, previous=ROWS)
    assert line.startswith("age: Drift from the run before is 0.")
    assert line.endswith("(mean 49.5 before, 99.5 now).")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_share_of_missing_numbers_may_drift(missing):
    ages = [float(age) for age in range(99)]
    before = {**ROWS, "age": [*ages, missing]}
    schema = infer(before)
    assert lines(before, schema, previous=before) == []
    [line] = lines({**ROWS, "age": [1.0] + [missing] * 99}, schema, previous=before)
    assert line.startswith("age: Drift from the run before is 0.")
    assert "(mean " in line
    assert line.endswith("; missing 1.0% before, 99.0% now).")


def test_share_of_missing_strings_may_drift():
    before = {**ROWS, "city": [None, *ROWS["city"][1:]]}
    schema = infer(before)
    assert lines(before, schema, previous=before) == []
    rows = {**ROWS, "city": [None] * 51 + ROWS["city"][51:]}
    assert lines(rows, schema, previous=before) == [
        "city: Drift from the run before is 0.500, allowed 0.100 "
        "(missing 1.0% before, 51.0% now)."
    ]


def test_skew_is_measured_from_the_training_split():
    [line] = lines({**ROWS, "age": [0] * 100}, training=ROWS)
    assert line.startswith("age: Skew from the training split is ")


def test_change_of_type_between_runs_is_drift():
    [line] = lines(ROWS, previous={**ROWS, "age": [b"x"] * 100})
    assert "is 1.000" in line
    assert "(strings before, numbers now)" in line


def test_several_reasons_are_told_together():
    rows = {**ROWS, "age": [None] * 50 + [1000] * 50}
    anomalies = check(rows, previous=ROWS)
    info = anomalies.anomaly_info["age"]
    assert info.short_description == "Multiple errors"
    assert [anomalies_pb2.AnomalyInfo.Type.Name(r.type) for r in info.reason] == [
        "FEATURE_TYPE_LOW_FRACTION_PRESENT",
        "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
    ]


def test_distance_of_numbers_is_that_of_their_shares():
    def numbers(values):
        return make_statistics({"x": values}).features[0]

    even, low = numbers([*range(100)] * 10), numbers([*range(50)] * 20)
    # Half of the mass p = (2, 0) against q = (1, 1), halved: JS = 0.311 bits.
    mean = [0.75, 0.25]
    expected = 0.5 * np.log2(1 / mean[0]) + 0.25 * np.log2(0.5 / mean[0])
    expected += 0.25 * np.log2(0.5 / mean[1])
    # 100 borders of buckets stand for the values.
    np.testing.assert_allclose(distance(low, even, JENSEN_SHANNON), expected, atol=0.01)
    # Nine in ten values are 0, as in a column of money.
    money = numbers([0.0] * 900 + [*range(1, 101)])
    assert distance(money, money, JENSEN_SHANNON) == 0.0
    assert distance(numbers([0.0] * 1000), money, JENSEN_SHANNON) > 0.05


def test_schema_can_be_read_by_people():
    text = text_format.MessageToString(infer())
    assert 'name: "city"' in text


def quantiles_as_of_tfx(values):
    """Statistics with a histogram of equal widths first, and ten quantiles."""
    [found] = make_statistics({"x": values}).features
    del found.num_stats.histograms[:]
    widths = found.num_stats.histograms.add(type="STANDARD")
    counts, edges = np.histogram(values, bins=10)
    borders = np.quantile(values, np.linspace(0, 1, 11))
    histogram = found.num_stats.histograms.add(type="QUANTILES")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        widths.buckets.add(low_value=low, high_value=high, sample_count=count)
    for low, high in zip(borders, borders[1:], strict=False):
        count = len(values) / 10
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    return found


def test_distance_takes_the_quantiles_among_histograms():
    even = np.linspace(0.0, 1.0, 5001)
    # Most values are near 0 now; the borders of equal widths are the same.
    found = [quantiles_as_of_tfx(values) for values in (even, even**4)]
    assert distance(found[1], found[0], JENSEN_SHANNON) > 0.1


def test_ten_coarse_quantiles_of_like_rows_are_near():
    rows = np.random.default_rng(0).lognormal(size=(2, 5000))
    first, second = map(quantiles_as_of_tfx, rows)
    assert distance(first, second, JENSEN_SHANNON) < 0.01


def test_numbers_without_quantiles_count_as_without_values():
    found = quantiles_as_of_tfx([1.0, 2.0, 3.0])
    bare = quantiles_as_of_tfx([1.0, 2.0, 3.0])
    del bare.num_stats.histograms[1]
    assert distance(bare, bare, JENSEN_SHANNON) == 0.0
    assert distance(bare, found, JENSEN_SHANNON) == 1.0
    assert distance(found, bare, JENSEN_SHANNON) == 1.0


def parse(text):
    schema = text_format.Parse(text, schema_pb2.Schema())
    schemas.check(schema)
    return schema


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        ('type: BYTES domain: "cities"', [b"Oslo", b"Bonn"], "not in the domain"),
        (
            'type: BYTES bool_domain { true_value: "yes" false_value: "no" }',
            [b"yes", b"maybe"],
            "not in the domain",
        ),
        ("type: INT bool_domain {}", [0, 2], "The largest value is 2, allowed up to 1"),
        ("type: INT presence { min_count: 3 }", [1, 1], "in 2 examples, .* at least 3"),
        ("type: INT shape { dim { size: 2 } }", [1, 1], "1 values in an example, at l"),
    ],
)
def test_fields_of_a_corrected_schema_are_enforced(feature, values, message):
    domain = 'string_domain { name: "cities" value: "Oslo" }'
    schema = parse(f'feature {{ name: "x" {feature} }} {domain}')
    [line] = lines({"x": values}, schema)
    assert re.search(message, line)


def test_feature_that_is_planned_may_be_any():
    schema = parse(
        'feature { name: "x" type: INT lifecycle_stage: PLANNED '
        "presence { min_count: 1 } }"
    )
    assert lines({"x": [b"text"]}, schema) == []
    [line] = lines({"y": [1]}, schema)
    assert line.startswith("y: ")


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("type: INT unique_constraints { min: 1 }", r"\['x\.unique_constraints'\]"),
        ("type: FLOAT bool_domain {}", r"\['x\.bool_domain of FLOAT'\]"),
        (
            "type: FLOAT float_domain { disallow_nan: true }",
            r"\['x\.float_domain\.disallow_nan'\]",
        ),
        ('type: BYTES domain: "towns"', r"`domain` of feature 'x' must be.*'towns'"),
    ],
)
def test_fields_that_are_not_enforced_are_errors(feature, message):
    with pytest.raises(ValueError, match=message):
        parse(f'feature {{ name: "x" {feature} }}')


def test_inferred_schema_says_what_is_enforced():
    schemas.check(infer())


def test_distance_is_that_which_the_schema_limits():
    schema = infer()
    # Of strings this one is inferred with the other.
    city = schema.feature[1].drift_comparator
    city.Clear()
    city.jensen_shannon_divergence.threshold = 0.1
    rows = {**ROWS, "city": [b"Rome"] * 100}
    anomalies = check(rows, schema, previous=ROWS)
    [measured] = [
        info.drift_measurements[0]
        for info in anomalies.drift_skew_info
        if info.path.step[0] == "city"
    ]
    # Half of the rows were Rome: JS of (1, 0, 0) and (1/2, 1/4, 1/4).
    expected = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5) / 2
    assert measured.Type.Name(measured.type) == "JENSEN_SHANNON_DIVERGENCE"
    assert measured.value == pytest.approx(expected)
    [reason] = anomalies.anomaly_info["city"].reason
    kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
    assert kind == "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"
