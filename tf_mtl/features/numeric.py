"""Features whose raw values are numbers: scaled, or cut into buckets."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.features.columns import Column
from tf_mtl.features.feature import Feature, IdFeature, check_count
from tf_mtl.features.learners import Learner, Moments, Quantiles

NORMALIZATIONS = ("standard", "log_standard", "min_max", None)


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True)
class Numeric(Feature):
    """A number, scaled: float32 `[batch, 1]`, or `[batch, 2]` with `indicator`.

    NaN and infinite values are missing: they become what `default` becomes, or the
    learned mean, which is 0 after standardisation. A column that is constant in the
    data is shifted and not scaled. See `Feature` for the other arguments.

    Args:
        normalization: `"standard"` (mean 0, variance 1), `"log_standard"` (the same
            after `sign(x) * log(1 + |x|)`), `"min_max"` (the learned range becomes
            `[0, 1]`; values outside it stay outside) or None (as is).
        default: float. Raw value that stands in for a missing one; None takes the
            learned mean (of the logarithms for `"log_standard"`).
        indicator: bool. True adds a second column, 1.0 where the value is missing,
            else 0.0.

    Raises:
        ValueError: if `normalization` is unknown.
    """

    _: dataclasses.KW_ONLY
    normalization: str | None = "standard"
    default: float | None = None
    indicator: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"`normalization` must be one of {NORMALIZATIONS}. Received: "
                f"normalization={self.normalization!r}."
            )

    def columns(self) -> tuple[Column, ...]:
        """The column of numbers."""
        return (Column(self.column_name, tf.float32, float("nan")),)

    def learner(self) -> Learner | None:
        """Moments, unless neither scale nor stand-in has to be learned."""
        if self.normalization is None and self.default is not None:
            return None
        return Moments()

    def observe(self, raw: Mapping[str, Any]) -> tf.Tensor:
        """The numbers, or their logarithms."""
        return self._transform(super().observe(raw))

    def prepare(self, learned: np.ndarray | None) -> tuple[float, float, float]:
        """Shift, scale, and what a missing value becomes."""
        mean, variance, minimum, maximum = (0.0,) * 4 if learned is None else learned
        shift, spread = 0.0, 1.0
        if self.normalization == "min_max":
            shift, spread = minimum, maximum - minimum
        elif self.normalization is not None:
            shift, spread = mean, variance**0.5
        scale = 1.0 / spread if minimum < maximum else 1.0
        stand_in = mean
        if self.default is not None:
            stand_in = float(self._transform(tf.constant(self.default, tf.float32)))
        return float(shift), float(scale), float((stand_in - shift) * scale)

    def encode(self, raw: Mapping[str, Any], prepared: Any) -> dict[str, tf.Tensor]:
        """Scales the numbers."""
        shift, scale, stand_in = prepared
        values = self._transform(self.columns()[0].read(raw))
        known = tf.math.is_finite(values)
        outputs = [tf.where(known, (values - shift) * scale, stand_in)]
        if self.indicator:
            outputs.append(1.0 - tf.cast(known, tf.float32))
        return {self.name: tf.stack(outputs, axis=-1)}

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Float32 `[batch, 1]` or `[batch, 2]`."""
        shape = (1 + int(self.indicator),)
        return {self.name: keras.Input(shape, dtype="float32", name=self.name)}

    def _transform(self, values: tf.Tensor) -> tf.Tensor:
        if self.normalization != "log_standard":
            return values
        return tf.sign(values) * tf.math.log1p(tf.abs(values))


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True)
class Bucketized(IdFeature):
    """A number as the id of its bucket, by given or learned boundaries.

    Ids: 0 missing (NaN), `1 + i` for a value with `i` boundaries at or below it; no
    value is out of range, infinite ones fall in the end buckets. Learned boundaries
    are quantiles (of a uniform sample of 100,000 values where there are more); equal
    ones are merged, so a skewed column gets fewer buckets. See `IdFeature` for the
    other arguments.

    Args:
        boundaries: sequence of finite floats, strictly rising. None learns them.
        num_buckets: int of at least 2. Number of buckets to learn.

    Raises:
        ValueError: if not exactly one of `boundaries` and `num_buckets` is given, or
            one breaks its rule.
    """

    _: dataclasses.KW_ONLY
    boundaries: Sequence[float] | None = None
    num_buckets: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.boundaries is None) == (self.num_buckets is None):
            raise ValueError(
                "Give either `boundaries` or `num_buckets`. Received: "
                f"boundaries={self.boundaries}, num_buckets={self.num_buckets} for "
                f"feature {self.name!r}."
            )
        if self.num_buckets is not None:
            check_count("num_buckets", self.num_buckets)
        if self.num_buckets == 1:
            raise ValueError(
                "`num_buckets` must be at least 2: one bucket says nothing. Received: "
                f"num_buckets=1 for feature {self.name!r}."
            )
        if self.boundaries is not None:
            boundaries = tuple(float(value) for value in self.boundaries)
            object.__setattr__(self, "boundaries", boundaries)
            rising = all(a < b for a, b in itertools.pairwise(boundaries))
            if not boundaries or not rising or not np.isfinite(boundaries).all():
                raise ValueError(
                    "`boundaries` must be finite and strictly rising, at least one. "
                    f"Received: boundaries={boundaries}."
                )

    @property
    def raw_dtype(self) -> tf.DType:
        """`tf.float32`."""
        return tf.float32

    @property
    def raw_missing(self) -> float:
        """NaN."""
        return float("nan")

    def learner(self) -> Learner | None:
        """Quantiles, unless the boundaries are given."""
        return None if self.num_buckets is None else Quantiles(self.num_buckets)

    def prepare(self, learned: np.ndarray | None) -> list[float]:
        """The boundaries."""
        return list(self._known(learned))

    def num_ids(self, learned: np.ndarray | None) -> int:
        """The buckets and id 0."""
        return len(self._known(learned)) + 2

    def to_ids(self, values: tf.Tensor, prepared: Any) -> tf.Tensor:
        """Counts boundaries at or below each value."""
        bucket = tf.raw_ops.Bucketize(input=values, boundaries=list(prepared))
        return tf.where(tf.math.is_nan(values), 0, bucket + 1)

    def _known(self, learned: np.ndarray | None) -> Sequence[float]:
        if self.boundaries is not None:
            return self.boundaries
        return () if learned is None else learned.tolist()
