"""Features whose raw values are categories: by vocabulary, by hash, by range."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.features.feature import IdFeature, check_count
from tf_mtl.features.learners import Learner, ValueCounts

DTYPES = ("string", "int64")


@dataclasses.dataclass(frozen=True)
class _CategoryFeature(IdFeature):
    """Shared by the features of this file: what means missing in an integer column."""

    _: dataclasses.KW_ONLY
    missing_value: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        is_string = self.raw_dtype == tf.string
        if is_string and self.missing_value is not None:
            raise ValueError(
                "`missing_value` is for integer columns; a string is missing when it "
                f"is empty. Received: missing_value={self.missing_value!r} for feature "
                f"{self.name!r}."
            )
        if not is_string and self.max_length is not None and self.missing_value is None:
            raise ValueError(
                "`missing_value` must be given for a list of integers: it pads dense "
                f"rows. Received: missing_value=None for feature {self.name!r}. Pass a "
                "value that is no id, such as `missing_value=-1`."
            )

    @property
    def raw_missing(self) -> str | int | None:
        """The empty string, or `missing_value`."""
        return "" if self.raw_dtype == tf.string else self.missing_value

    def _zero_missing(self, ids: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Int32 `ids`, 0 where the raw value is missing."""
        ids = tf.cast(ids, tf.int32)
        if self.raw_missing is None:
            return ids
        return tf.where(tf.equal(values, self.raw_missing), 0, ids)


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True)
class Categorical(_CategoryFeature):
    """Categories by vocabulary, given or learned.

    Ids: 0 missing, 1 not in the vocabulary, 2 and up the vocabulary in its order. A
    learned vocabulary is ordered by falling count, equal counts by value (bytes or
    numbers), so it does not depend on the order of the rows. See `IdFeature` for the
    other arguments.

    Args:
        vocabulary: sequence of distinct strings or integers; None learns it. A given
            vocabulary is part of the configuration, a learned one is an asset.
        max_vocabulary_size: int. Most values to learn (ids 0 and 1 not counted); None
            learns all.
        min_count: int. Values seen less often are not learned.
        dtype: `"string"` or `"int64"`. Dtype of the raw column.
        missing_value: int. Raw value of an integer column that means missing; None
            if no value does. An empty string is always missing.

    Raises:
        ValueError: if an argument breaks its rule.
        TypeError: if `vocabulary` holds values of another type than `dtype`.
    """

    _: dataclasses.KW_ONLY
    vocabulary: Sequence[str] | Sequence[int] | None = None
    max_vocabulary_size: int | None = None
    min_count: int = 1
    dtype: str = "string"

    def __post_init__(self) -> None:
        _check_dtype(self.dtype)
        super().__post_init__()
        check_count("min_count", self.min_count)
        if self.max_vocabulary_size is not None:
            check_count("max_vocabulary_size", self.max_vocabulary_size)
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
            self._check_vocabulary()

    @property
    def raw_dtype(self) -> tf.DType:
        """`tf.string` or `tf.int64`."""
        return tf.as_dtype(self.dtype)

    def learner(self) -> Learner | None:
        """Counts of values, unless the vocabulary is given."""
        if self.vocabulary is not None:
            return None
        missing = b"" if self.raw_dtype == tf.string else self.missing_value
        return ValueCounts(missing, self.min_count, self.max_vocabulary_size)

    def prepare(self, learned: np.ndarray | None) -> tf.lookup.StaticHashTable:
        """A lookup table from raw values to ids."""
        known = self._known(learned)
        # The missing value is a key like any other: one lookup does all.
        head = [] if self.raw_missing is None else [self.raw_missing]
        keys = tf.constant([*head, *known], self.raw_dtype)
        ids = tf.constant([0] * len(head) + list(range(2, len(known) + 2)), tf.int32)
        return tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=1
        )

    def num_ids(self, learned: np.ndarray | None) -> int:
        """Size of the vocabulary and ids 0 and 1."""
        return len(self._known(learned)) + 2

    def to_ids(self, values: tf.Tensor, prepared: Any) -> tf.Tensor:
        """Looks raw values up."""
        return prepared.lookup(values)

    def _known(self, learned: np.ndarray | None) -> Sequence[Any]:
        if self.vocabulary is not None:
            return self.vocabulary
        return () if learned is None else learned.tolist()

    def _check_vocabulary(self) -> None:
        vocabulary = self.vocabulary or ()
        kind = str if self.raw_dtype == tf.string else int
        wrong = [value for value in vocabulary if not isinstance(value, kind)]
        if wrong:
            raise TypeError(
                f"`vocabulary` must hold {kind.__name__} values where dtype is "
                f"{self.dtype!r}. Received: {wrong[0]!r}."
            )
        if not vocabulary or len(set(vocabulary)) < len(vocabulary):
            raise ValueError(
                "`vocabulary` must hold distinct values, at least one. Received: "
                f"{len(vocabulary)} values, {len(set(vocabulary))} of them distinct, "
                f"for feature {self.name!r}."
            )
        if self.raw_missing in vocabulary:
            raise ValueError(
                "`vocabulary` must not hold the value that means missing. Received: "
                f"{self.raw_missing!r} in the vocabulary of feature {self.name!r}."
            )


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True)
class Hashed(_CategoryFeature):
    """Categories by hash: nothing to learn, values may share an id.

    Ids: 0 missing, 1 to `num_bins` the bins; no value is unknown. A string is hashed
    as its bytes, an integer as its decimal digits. The ids are those of
    `keras.layers.Hashing(num_bins, salt=salt or None)` plus 1: FarmHash64 where `salt`
    is 0, else SipHash64 with the key `(salt, salt)`, modulo `num_bins`. They are the
    same on every machine. See `IdFeature` for the other arguments.

    Args:
        num_bins: int. Number of bins.
        salt: int, not negative. Another salt shares the bins out differently.
        dtype: `"string"` or `"int64"`. Dtype of the raw column.
        missing_value: int. Raw value of an integer column that means missing; None
            if no value does. An empty string is always missing.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    num_bins: int
    _: dataclasses.KW_ONLY
    salt: int = 0
    dtype: str = "string"

    def __post_init__(self) -> None:
        _check_dtype(self.dtype)
        super().__post_init__()
        check_count("num_bins", self.num_bins)
        if not isinstance(self.salt, int) or self.salt < 0:
            raise ValueError(
                "`salt` must be an integer and not negative. Received: "
                f"salt={self.salt!r}."
            )

    @property
    def raw_dtype(self) -> tf.DType:
        """`tf.string` or `tf.int64`."""
        return tf.as_dtype(self.dtype)

    def num_ids(self, learned: np.ndarray | None) -> int:
        """The bins and id 0."""
        return self.num_bins + 1

    def to_ids(self, values: tf.Tensor, prepared: Any) -> tf.Tensor:
        """Hashes raw values."""
        text = values if values.dtype == tf.string else tf.strings.as_string(values)
        if self.salt:
            key = [self.salt, self.salt]
            bins = tf.strings.to_hash_bucket_strong(text, self.num_bins, key)
        else:
            bins = tf.strings.to_hash_bucket_fast(text, self.num_bins)
        return self._zero_missing(bins + 1, values)


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True)
class IntegerRange(_CategoryFeature):
    """Categories that are integers from 0 on: nothing to learn, nothing to look up.

    Ids: 0 missing, 1 out of range (negative numbers too), `value + 2` for a value in
    `[0, num_values)`. The raw column is of integers. See `IdFeature` for the other
    arguments.

    Args:
        num_values: int. Number of values; the largest is `num_values - 1`.
        missing_value: int. Raw value that means missing; None if no value does.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    num_values: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_values", self.num_values)

    @property
    def raw_dtype(self) -> tf.DType:
        """`tf.int64`."""
        return tf.int64

    def num_ids(self, learned: np.ndarray | None) -> int:
        """The values and ids 0 and 1."""
        return self.num_values + 2

    def to_ids(self, values: tf.Tensor, prepared: Any) -> tf.Tensor:
        """Shifts raw values past ids 0 and 1."""
        in_range = (values >= 0) & (values < self.num_values)
        return self._zero_missing(tf.where(in_range, values + 2, 1), values)


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {DTYPES}. Received: dtype={dtype!r}.")
