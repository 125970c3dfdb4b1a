"""Schema: what to expect of each feature, inferred from statistics."""

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import FeatureNameStatistics

TYPES = {
    FeatureNameStatistics.INT: schema_pb2.INT,
    FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    FeatureNameStatistics.STRING: schema_pb2.BYTES,
}


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


def common(found: FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """How many values the examples hold."""
    is_string = found.type == FeatureNameStatistics.STRING
    return (found.string_stats if is_string else found.num_stats).common_stats
