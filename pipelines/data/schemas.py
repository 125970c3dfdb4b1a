"""Schema: what to expect of each feature, inferred from statistics."""

from collections.abc import Collection

from google.protobuf import message
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import FeatureNameStatistics

TYPES = {
    FeatureNameStatistics.INT: schema_pb2.INT,
    FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    FeatureNameStatistics.STRING: schema_pb2.BYTES,
}


# What validation enforces, or what says nothing about the data.
_SCHEMA = (
    "feature",
    "string_domain",
    "annotation",
    "generate_legacy_feature_spec",
    "tensor_representation_group",
)
_FEATURE = (
    "name",
    "type",
    "presence",
    "shape",
    "value_count",
    "domain",
    "string_domain",
    "bool_domain",
    "int_domain",
    "float_domain",
    "distribution_constraints",
    "skew_comparator",
    "drift_comparator",
    "lifecycle_stage",
    "deprecated",
    "annotation",
)
_COMPARATOR = ("infinity_norm", "jensen_shannon_divergence")
_PARTS = {
    "int_domain": ("name", "min", "max", "is_categorical"),
    "float_domain": ("name", "min", "max", "is_categorical"),
    "skew_comparator": _COMPARATOR,
    "drift_comparator": _COMPARATOR,
}
# Domains that are not enforced of a type.
_UNFIT = {
    "BYTES": ("int_domain", "float_domain"),
    "INT": ("string_domain", "domain"),
    "FLOAT": ("string_domain", "domain", "bool_domain"),
}
_UNCHECKED = ("PLANNED", "ALPHA", "DEPRECATED", "DISABLED", "DEBUG_ONLY")


def infer(
    statistics: statistics_pb2.DatasetFeatureStatistics,
    max_domain: int,
    max_unseen: float,
    max_skew: float,
    max_drift: float,
) -> schema_pb2.Schema:
    """Infers a schema.

    Features have no fixed shape, so that a value may be missing when a model is asked.

    Args:
        statistics: statistics of the training split.
        max_domain: strings with up to so many different values get them as a domain.
        max_unseen: share of values that may lie outside of a domain.
        max_skew: distance that another split may have from the training split.
        max_drift: distance that a split may have from that of the run before. See
            `distances.distance`.

    Returns:
        The schema, features in the order of the statistics.
    """
    schema = schema_pb2.Schema()
    for found in statistics.features:
        feature = schema.feature.add(name=found.path.step[0], type=TYPES[found.type])
        is_string = found.type == FeatureNameStatistics.STRING
        lengths = common(found)
        feature.presence.min_count = 1
        if not lengths.num_missing:
            feature.presence.min_fraction = 1.0
        feature.value_count.min = lengths.min_num_values
        feature.value_count.max = lengths.max_num_values
        if is_string and found.string_stats.unique <= max_domain:
            buckets = found.string_stats.rank_histogram.buckets
            feature.string_domain.value.extend(sorted(b.label for b in buckets))
            feature.distribution_constraints.min_domain_mass = 1.0 - max_unseen
        kind = "infinity_norm" if is_string else "jensen_shannon_divergence"
        getattr(feature.skew_comparator, kind).threshold = max_skew
        getattr(feature.drift_comparator, kind).threshold = max_drift
    return schema


def check(schema: schema_pb2.Schema) -> None:
    """Refuses a schema that says what validation would not enforce.

    Raises:
        ValueError: if it does, or names a domain that it does not hold; tells where.
    """
    ignored = _ignored("schema", schema, _SCHEMA)
    domains = {domain.name for domain in schema.string_domain}
    for feature in schema.feature:
        ignored += _ignored(feature.name, feature, _FEATURE)
        for part, known in _PARTS.items():
            if feature.HasField(part):
                place = f"{feature.name}.{part}"
                ignored += _ignored(place, getattr(feature, part), known)
        if feature.domain and feature.domain not in domains:
            raise ValueError(
                f"`domain` of feature {feature.name!r} must be a `string_domain` of "
                f"the schema: {sorted(domains)}. Received: {feature.domain!r}."
            )
        kind = schema_pb2.FeatureType.Name(feature.type)
        ignored += [
            f"{feature.name}.{name} of {kind}"
            for name in _UNFIT.get(kind, ())
            if feature.HasField(name)
        ]
    if ignored:
        raise ValueError(
            "The schema must say nothing that is not enforced here. Received: "
            f"{ignored}. Remove these fields."
        )


def string_domain(
    feature: schema_pb2.Feature, schema: schema_pb2.Schema
) -> set[str] | None:
    """The strings that a feature may be; None if it may be any, or holds numbers."""
    if feature.HasField("string_domain"):
        return set(feature.string_domain.value)
    if feature.HasField("domain"):
        named = {domain.name: domain.value for domain in schema.string_domain}
        return set(named[feature.domain])
    if feature.type == schema_pb2.BYTES and feature.HasField("bool_domain"):
        return {feature.bool_domain.true_value, feature.bool_domain.false_value}
    return None


def is_checked(feature: schema_pb2.Feature) -> bool:
    """Whether a feature is in use: one that is planned, or was given up, may be any."""
    stage = schema_pb2.LifecycleStage.Name(feature.lifecycle_stage)
    return not feature.deprecated and stage not in _UNCHECKED


def _ignored(place: str, proto: message.Message, known: Collection[str]) -> list[str]:
    names = [field.name for field, _ in proto.ListFields()]
    return [f"{place}.{name}" for name in names if name not in known]


def common(found: FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """How many values the examples hold."""
    is_string = found.type == FeatureNameStatistics.STRING
    return (found.string_stats if is_string else found.num_stats).common_stats
