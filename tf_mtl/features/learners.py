"""Statistics that are learned in one pass, batch by batch, on the host."""

import collections
from typing import Any, Protocol

import numpy as np

_KEY_STREAM = 7919


class Learner(Protocol):
    """A streaming statistic. Its result does not depend on the batch size."""

    def update(self, values: np.ndarray) -> None:
        """Adds an array of rank 1, possibly empty."""

    def result(self) -> np.ndarray:
        """What was learned, an array of rank 1."""


class ValueCounts:
    """Vocabulary by count: the most frequent values first, ties by value.

    Memory grows with the number of distinct values.

    Args:
        missing: value that is not counted; None counts all.
        min_count: int. Values seen less often are left out.
        max_size: int. Most values to return; None returns all.
    """

    def __init__(
        self, missing: bytes | int | None, min_count: int, max_size: int | None
    ) -> None:
        self._missing = missing
        self._min_count = min_count
        self._max_size = max_size
        self._counts: collections.Counter[Any] = collections.Counter()

    def update(self, values: np.ndarray) -> None:
        """Counts bytes or integers."""
        self._counts.update(values.tolist())

    def result(self) -> np.ndarray:
        """The vocabulary: bytes in an object array, or int64."""
        kept = [
            (-count, value)
            for value, count in self._counts.items()
            if count >= self._min_count and value != self._missing
        ]
        values = [value for _, value in sorted(kept)[: self._max_size]]
        is_bytes = bool(values) and isinstance(values[0], bytes)
        return np.array(values, object if is_bytes else np.int64)


class Moments:
    """Mean, variance, minimum and maximum of the finite values.

    Chan's parallel update in float64. Without a finite value all four are 0.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0
        self._minimum = np.inf
        self._maximum = -np.inf

    def update(self, values: np.ndarray) -> None:
        """Adds floats; NaN and infinite values are skipped."""
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            return
        mean = values.mean()
        delta = mean - self._mean
        count = self._count + values.size
        self._squares += np.square(values - mean).sum()
        self._squares += delta**2 * self._count * values.size / count
        self._mean += delta * values.size / count
        self._count = count
        self._minimum = min(self._minimum, values.min())
        self._maximum = max(self._maximum, values.max())

    def result(self) -> np.ndarray:
        """Float64 `[mean, population variance, minimum, maximum]`."""
        if not self._count:
            return np.zeros(4)
        variance = self._squares / self._count
        return np.array([self._mean, variance, self._minimum, self._maximum])


class Quantiles:
    """Inner boundaries of buckets that hold about equally many values.

    Exact up to `sample_size` finite values; beyond that, from a uniform sample of so
    many: each value draws a random key and the smallest keys stay. A rank is then off
    by about `0.5 / sqrt(sample_size)` at most, 0.2 % by default.

    Args:
        num_buckets: int. Number of buckets.
        sample_size: int. Most values to hold.
        seed: int. Seed of the keys.
    """

    def __init__(
        self, num_buckets: int, sample_size: int = 100_000, seed: int = 0
    ) -> None:
        self._num_buckets = num_buckets
        self._sample_size = sample_size
        # A stream of its own: made-up data often comes from `default_rng(seed)`, and
        # keys that equal the values would keep the smallest values.
        self._random = np.random.default_rng([seed, _KEY_STREAM])
        self._keys: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._held = 0

    def update(self, values: np.ndarray) -> None:
        """Adds floats; NaN and infinite values are skipped."""
        values = values[np.isfinite(values)]
        self._keys.append(self._random.random(values.size))
        self._values.append(values)
        self._held += values.size
        if self._held > 2 * self._sample_size:
            self._prune()

    def result(self) -> np.ndarray:
        """Float32 boundaries, rising, at most `num_buckets - 1` of them.

        Equal quantiles are merged, so a value that many rows share costs buckets.
        """
        self._prune()
        if not self._held:
            return np.zeros(0, np.float32)
        ranks = np.linspace(0.0, 1.0, self._num_buckets + 1)[1:-1]
        return np.unique(np.quantile(self._values[0], ranks).astype(np.float32))

    def _prune(self) -> None:
        keys = np.concatenate([np.zeros(0), *self._keys])
        values = np.concatenate([np.zeros(0), *self._values])
        if keys.size > self._sample_size:
            kept = np.argpartition(keys, self._sample_size)[: self._sample_size]
            keys, values = keys[kept], values[kept]
        self._keys, self._values, self._held = [keys], [values], keys.size
