"""Distance of two distributions of one feature, and what changed most."""

import numpy as np
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    FeatureNameStatistics as Statistics,
)

from pipelines.data.schemas import common

# Kinds of distances, by the names of the schema, with those of anomalies.
KINDS = {
    "infinity_norm": "L_INFTY",
    "jensen_shannon_divergence": "JENSEN_SHANNON_DIVERGENCE",
}
# Buckets that numbers are compared in.
_BUCKETS = 10
# Stands for missing values among the strings of a feature.
_MISSING = None


def is_string(found: Statistics) -> bool:
    """Whether the values of a feature are strings, or else numbers."""
    return found.type == Statistics.STRING


def distance(a: Statistics, b: Statistics, kind: str) -> float:
    """Distance in `[0, 1]` of the frequencies of strings, or of the shares of numbers.

    Numbers are compared in ten buckets, which have equal counts in `b`. Missing values
    and NaN are one value, or one bucket, more; numbers without quantiles count as
    missing.

    Args:
        a: statistics of a feature.
        b: statistics to compare them with.
        kind: `"infinity_norm"`, the largest difference of a frequency or share, or
            `"jensen_shannon_divergence"`, in bits.

    Returns:
        float; 1 if one has strings and one numbers.
    """
    if is_string(a) != is_string(b):
        return 1.0
    if is_string(a):
        values = _values(a, b)
        found = [_frequencies(each) for each in (a, b)]
        p, q = (np.array([each.get(v, 0.0) for v in values]) for each in found)
    else:
        borders = _borders(b)
        step = max(len(borders) // _BUCKETS, 1)
        edges = np.unique(borders[::step])
        p, q = (_shares(each, edges) for each in (a, b))
    if kind == "infinity_norm":
        return float(np.abs(p - q).max())
    return _jensen_shannon(p, q)


def describe_change(before: Statistics, after: Statistics) -> str:
    """What changed most, for people."""
    if is_string(before) != is_string(after):
        words = [
            "strings" if is_string(each) else "numbers" for each in (before, after)
        ]
        return f"{words[0]} before, {words[1]} now"
    missing = [missing_share(each) for each in (before, after)]
    told = f"missing {missing[0]:.1%} before, {missing[1]:.1%} now"
    if is_string(after):
        old, new = (_frequencies(each) for each in (before, after))
        changes = {v: new.get(v, 0.0) - old.get(v, 0.0) for v in _values(before, after)}
        value = max(changes, key=lambda value: abs(changes[value]))
        if value is not _MISSING:
            return f"frequency of {value!r} {changes[value]:+.3f}"
        return told
    means = [each.num_stats.mean for each in (before, after)]
    moved = f"mean {means[0]:.4g} before, {means[1]:.4g} now"
    return moved if missing[0] == missing[1] else f"{moved}; {told}"


def counts(found: Statistics) -> dict[str, float]:
    """Count of each value of a feature with strings."""
    buckets = found.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count for bucket in buckets}


def missing_share(found: Statistics) -> float:
    """Share of values that are missing or NaN; 1 where there is none at all."""
    if not is_string(found) and not len(_borders(found)):
        return 1.0
    lengths = common(found)
    num_nan = max((h.num_nan for h in found.num_stats.histograms), default=0)
    total = lengths.num_missing + lengths.tot_num_values
    return (lengths.num_missing + num_nan) / total if total else 1.0


def _values(a: Statistics, b: Statistics) -> list[str | None]:
    """What strings of a feature may be."""
    return [*sorted({*counts(a), *counts(b)}), _MISSING]


def _frequencies(found: Statistics) -> dict[str | None, float]:
    missing, present = missing_share(found), counts(found)
    total = max(sum(present.values()), 1)
    shares: dict[str | None, float] = {_MISSING: missing}
    for value, count in present.items():
        shares[value] = (1 - missing) * count / total
    return shares


def _borders(found: Statistics) -> np.ndarray:
    """Borders of the buckets of equal counts; none without values."""
    # TFX writes a histogram of equal widths too.
    quantiles = [h for h in found.num_stats.histograms if h.type == h.QUANTILES]
    buckets = quantiles[0].buckets if quantiles else []
    lows = [bucket.low_value for bucket in buckets]
    return np.array([*lows, buckets[-1].high_value] if lows else [])


def _shares(found: Statistics, edges: np.ndarray) -> np.ndarray:
    """Shares up to the first edge, between edges, above the last; of missing values."""
    borders, missing = _borders(found), missing_share(found)
    below = np.zeros(len(edges))
    if len(borders):
        # Between borders counts rise evenly; of equal borders the last one holds.
        below = np.interp(edges, borders, np.linspace(0.0, 1.0, len(borders)))
    present = np.diff(np.concatenate([[0.0], below, [1.0]]))
    return np.append(present * (1 - missing), missing)


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    middle = (p + q) / 2

    def divergence(x: np.ndarray) -> float:
        used = x > 0
        return float((x[used] * np.log2(x[used] / middle[used])).sum())

    return (divergence(p) + divergence(q)) / 2
