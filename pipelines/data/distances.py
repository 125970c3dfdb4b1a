"""Distance of two distributions of one feature, and what changed most."""

import numpy as np
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    FeatureNameStatistics as Statistics,
)

# Buckets that numbers are compared in.
_BUCKETS = 10


def is_string(found: Statistics) -> bool:
    """Whether the values of a feature are strings, or else numbers."""
    return found.type == Statistics.STRING


def distance(a: Statistics, b: Statistics) -> float:
    """Distance in `[0, 1]`.

    Of strings: the largest difference of the frequencies of a value (L-infinity). Of
    numbers: the Jensen-Shannon divergence in bits between the shares of values in ten
    buckets, which have equal counts in `b`. 1 if one has strings and one numbers.
    Numbers without quantiles count as without values.
    """
    if is_string(a) != is_string(b):
        return 1.0
    if is_string(a):
        return max((abs(d) for d in _frequency_changes(a, b).values()), default=0.0)
    borders = [_borders(each) for each in (a, b)]
    if not all(map(len, borders)):
        return float(any(map(len, borders)))
    step = max(len(borders[1]) // _BUCKETS, 1)
    edges = np.unique(borders[1][::step])
    return _jensen_shannon(*(_shares(each, edges) for each in borders))


def describe_change(before: Statistics, after: Statistics) -> str:
    """What changed most, for people."""
    if is_string(before) != is_string(after):
        words = [
            "strings" if is_string(each) else "numbers" for each in (before, after)
        ]
        return f"{words[0]} before, {words[1]} now"
    if is_string(after):
        changes = _frequency_changes(after, before)
        value = max(changes, key=lambda value: abs(changes[value]))
        return f"frequency of {value!r} {changes[value]:+.3f}"
    means = [each.num_stats.mean for each in (before, after)]
    return f"mean {means[0]:.4g} before, {means[1]:.4g} now"


def counts(found: Statistics) -> dict[str, float]:
    """Count of each value of a feature with strings."""
    buckets = found.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count for bucket in buckets}


def _frequency_changes(a: Statistics, b: Statistics) -> dict[str, float]:
    """Frequency of each value in `a` less that in `b`."""
    frequencies = []
    for found in map(counts, (a, b)):
        total = max(sum(found.values()), 1)
        frequencies.append({value: count / total for value, count in found.items()})
    new, old = frequencies
    return {
        v: new.get(v, 0.0) - old.get(v, 0.0) for v in sorted(new.keys() | old.keys())
    }


def _borders(found: Statistics) -> np.ndarray:
    """Borders of the buckets of equal counts; none without values."""
    # TFX writes a histogram of equal widths too.
    quantiles = [h for h in found.num_stats.histograms if h.type == h.QUANTILES]
    buckets = quantiles[0].buckets if quantiles else []
    lows = [bucket.low_value for bucket in buckets]
    return np.array([*lows, buckets[-1].high_value] if lows else [])


def _shares(borders: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Shares of values up to the first edge, between edges, and above the last."""
    # Between borders counts rise evenly; of equal borders the last one holds.
    below = np.interp(edges, borders, np.linspace(0.0, 1.0, len(borders)))
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    middle = (p + q) / 2

    def divergence(x: np.ndarray) -> float:
        used = x > 0
        return float((x[used] * np.log2(x[used] / middle[used])).sum())

    return (divergence(p) + divergence(q)) / 2
