"""Validation: where statistics break a schema, or are far from other statistics."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics

from pipelines.data.distances import (
    KINDS,
    Statistics,
    counts,
    describe_change,
    distance,
)
from pipelines.data.schemas import TYPES, common, is_checked, string_domain

_Info = anomalies_pb2.AnomalyInfo

# Values that a message shows.
_SHOWN = 5


class Finding(NamedTuple):
    """What is wrong with a feature.

    Attributes:
        feature: name of the feature.
        type: type by `AnomalyInfo.Type`.
        summary: a few words.
        text: a sentence.
    """

    feature: str
    type: int
    summary: str
    text: str


def validate(
    statistics: DatasetFeatureStatistics,
    schema: schema_pb2.Schema,
    training: DatasetFeatureStatistics | None = None,
    previous: DatasetFeatureStatistics | None = None,
    compare_columns: bool = False,
) -> anomalies_pb2.Anomalies:
    """Compares statistics with a schema, with another split, and with an earlier run.

    Args:
        statistics: statistics of a split.
        schema: what to expect. Distances are measured for features with a comparator.
        training: statistics of the split to measure skew from; None measures none.
        previous: statistics of this split in an earlier run; None measures no drift.
        compare_columns: bool. Whether a column that is not in `previous`, is there only
            or has another type there is an anomaly, whatever the schema says.

    Returns:
        The anomalies of all features, and what was measured.
    """
    anomalies = anomalies_pb2.Anomalies(baseline=schema)
    found = {f.path.step[0]: f for f in statistics.features}
    findings = list(_check_columns(found, schema))
    if compare_columns and previous is not None:
        findings += _compare_columns(found, _by_name(previous))
    for feature in schema.feature:
        if feature.name not in found or not is_checked(feature):
            continue
        present = found[feature.name]
        if TYPES[present.type] != feature.type:
            findings.append(_unexpected_type(present, feature))
            continue
        domain = string_domain(feature, schema)
        findings += _check_values(present, feature, domain, statistics.num_examples)
        info = anomalies_pb2.DriftSkewInfo()
        for kind, other in (("skew", training), ("drift", previous)):
            earlier = _by_name(other).get(feature.name)
            if earlier is None:
                continue
            for measured in _measure(
                present, earlier, getattr(feature, f"{kind}_comparator")
            ):
                getattr(info, f"{kind}_measurements").append(measured)
                if measured.value > measured.threshold:
                    findings.append(
                        _describe_distance(kind, measured, present, earlier)
                    )
        if info.drift_measurements or info.skew_measurements:
            info.path.step.append(feature.name)
            anomalies.drift_skew_info.append(info)
    for finding in findings:
        _add(anomalies, finding)
    return anomalies


def describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """A line per feature with an anomaly, sorted by name."""
    infos = anomalies.anomaly_info
    return [f"{name}: {infos[name].description}" for name in sorted(infos)]


def _check_columns(
    found: dict[str, Statistics], schema: schema_pb2.Schema
) -> Iterator[Finding]:
    known = {feature.name: feature for feature in schema.feature}
    for name in found.keys() - known.keys():
        text = "The column is in the data and not in the schema."
        yield Finding(name, _Info.SCHEMA_NEW_COLUMN, "New column", text)
    for name in known.keys() - found.keys():
        presence = known[name].presence
        is_needed = presence.min_count or presence.min_fraction
        if is_needed and is_checked(known[name]):
            text = "The column is in the schema and not in the data."
            yield Finding(name, _Info.SCHEMA_MISSING_COLUMN, "Column dropped", text)


def _compare_columns(
    found: dict[str, Statistics], earlier: dict[str, Statistics]
) -> Iterator[Finding]:
    for name in sorted(found.keys() - earlier.keys()):
        text = "The column was not in the run before."
        yield Finding(name, _Info.SCHEMA_NEW_COLUMN, "New column", text)
    for name in sorted(earlier.keys() - found.keys()):
        text = "The column was in the run before."
        yield Finding(name, _Info.SCHEMA_MISSING_COLUMN, "Column dropped", text)
    for name in sorted(found.keys() & earlier.keys()):
        before, now = (_type_name(each[name]) for each in (earlier, found))
        if before != now:
            text = f"The type was {before} in the run before, it is {now}."
            kind = _Info.UNEXPECTED_DATA_TYPE
            yield Finding(name, kind, "Unexpected data type", text)


def _unexpected_type(found: Statistics, feature: schema_pb2.Feature) -> Finding:
    expected = schema_pb2.FeatureType.Name(feature.type)
    text = f"Expected {expected}, found {_type_name(found)}."
    kind = _Info.UNEXPECTED_DATA_TYPE
    return Finding(feature.name, kind, "Unexpected data type", text)


def _type_name(found: Statistics) -> str:
    return schema_pb2.FeatureType.Name(TYPES[found.type])


def _check_values(
    found: Statistics,
    feature: schema_pb2.Feature,
    domain: set[str] | None,
    num_examples: int,
) -> Iterator[Finding]:
    name, lengths = feature.name, common(found)
    share = lengths.num_non_missing / max(num_examples, 1)
    if share < feature.presence.min_fraction:
        kind = _Info.FEATURE_TYPE_LOW_FRACTION_PRESENT
        text = (
            f"Present in {share:.2%} of the examples, expected in at least "
            f"{feature.presence.min_fraction:.2%}."
        )
        yield Finding(name, kind, "Values missing", text)
    if lengths.num_non_missing < feature.presence.min_count:
        kind = _Info.FEATURE_TYPE_LOW_NUMBER_PRESENT
        text = (
            f"Present in {lengths.num_non_missing} examples, expected in at least "
            f"{feature.presence.min_count}."
        )
        yield Finding(name, kind, "Values missing", text)
    least, most = feature.value_count.min, feature.value_count.max
    if feature.HasField("shape"):
        least = most = math.prod(dim.size for dim in feature.shape.dim)
    if most and lengths.max_num_values > most:
        kind = _Info.FEATURE_TYPE_HIGH_NUMBER_VALUES
        text = f"{lengths.max_num_values} values in an example, at most {most}."
        yield Finding(name, kind, "Too many values", text)
    if lengths.num_non_missing and lengths.min_num_values < least:
        kind = _Info.FEATURE_TYPE_LOW_NUMBER_VALUES
        text = f"{lengths.min_num_values} values in an example, at least {least}."
        yield Finding(name, kind, "Too few values", text)
    if domain is not None:
        yield from _check_strings(found, feature, domain)
    elif feature.HasField("bool_domain"):
        limits = schema_pb2.IntDomain(min=0, max=1)
        yield from _check_range(found, feature, limits)
    for field in ("int_domain", "float_domain"):
        if feature.HasField(field):
            yield from _check_range(found, feature, getattr(feature, field))


def _check_strings(
    found: Statistics, feature: schema_pb2.Feature, domain: set[str]
) -> Iterator[Finding]:
    found_counts = counts(found)
    unseen = {v: n for v, n in found_counts.items() if v not in domain}
    share = sum(unseen.values()) / max(sum(found_counts.values()), 1)
    least = 1.0
    if feature.HasField("distribution_constraints"):
        least = feature.distribution_constraints.min_domain_mass
    if 1.0 - share < least:
        shown = sorted(unseen, key=lambda value: (-unseen[value], value))[:_SHOWN]
        text = (
            f"{share:.2%} of the values are not in the domain, allowed are "
            f"{1.0 - least:.2%}: {', '.join(map(repr, shown))}"
            f"{', ...' if len(unseen) > _SHOWN else '.'}"
        )
        kind = _Info.ENUM_TYPE_UNEXPECTED_STRING_VALUES
        yield Finding(feature.name, kind, "Unexpected values", text)


def _check_range(
    found: Statistics, feature: schema_pb2.Feature, domain: Any
) -> Iterator[Finding]:
    numbers = found.num_stats
    is_int = feature.type == schema_pb2.INT
    if domain.HasField("min") and numbers.min < domain.min:
        kind = _Info.INT_TYPE_SMALL_INT if is_int else _Info.FLOAT_TYPE_SMALL_FLOAT
        text = f"The smallest value is {numbers.min:g}, allowed from {domain.min:g} on."
        yield Finding(feature.name, kind, "Out of range", text)
    if domain.HasField("max") and numbers.max > domain.max:
        kind = _Info.INT_TYPE_BIG_INT if is_int else _Info.FLOAT_TYPE_BIG_FLOAT
        text = f"The largest value is {numbers.max:g}, allowed up to {domain.max:g}."
        yield Finding(feature.name, kind, "Out of range", text)


def _measure(
    found: Statistics, other: Statistics, comparator: schema_pb2.FeatureComparator
) -> Iterator[anomalies_pb2.DriftSkewInfo.Measurement]:
    """The distances that a comparator limits."""
    for kind, code in KINDS.items():
        if comparator.HasField(kind):
            yield anomalies_pb2.DriftSkewInfo.Measurement(
                type=code,
                value=distance(found, other, kind),
                threshold=getattr(comparator, kind).threshold,
            )


def _describe_distance(
    kind: str, measured: Any, found: Statistics, other: Statistics
) -> Finding:
    source = "the training split" if kind == "skew" else "the run before"
    change = describe_change(other, found)
    code = f"COMPARATOR_{measured.Type.Name(measured.type)}_HIGH"
    return Finding(
        found.path.step[0],
        _Info.Type.Value(code),
        f"High {kind}",
        f"{kind.capitalize()} from {source} is {measured.value:.3f}, allowed "
        f"{measured.threshold:.3f} ({change}).",
    )


def _by_name(statistics: DatasetFeatureStatistics | None) -> dict[str, Statistics]:
    features: Sequence[Any] = [] if statistics is None else statistics.features
    return {feature.path.step[0]: feature for feature in features}


def _add(anomalies: anomalies_pb2.Anomalies, finding: Finding) -> None:
    info = anomalies.anomaly_info[finding.feature]
    info.path.step[:] = [finding.feature]
    info.severity = _Info.ERROR
    reason = info.reason.add(
        type=finding.type, short_description=finding.summary, description=finding.text
    )
    is_first = len(info.reason) == 1
    info.short_description = finding.summary if is_first else "Multiple errors"
    info.description = " ".join([info.description, reason.description]).strip()
