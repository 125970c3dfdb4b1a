"""Statistics of a split: a proto of tensorflow-metadata, from Arrow record batches."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import FeatureNameStatistics as _Kind
from tfx_bsl import sketches

# Up to so many different values are counted exactly; the rarest of more are lost.
_VALUES = 4096
# Buckets of equal counts, at whose borders distributions are compared.
_QUANTILES = 100
_QUANTILE_ERROR = 1e-3
_MAX_NUMBERS = 1 << 32


class FeatureStatistics:
    """Statistics of one feature, while rows are added.

    Args:
        type_: type by `FeatureNameStatistics.Type`: INT, FLOAT or STRING.
    """

    # What is added up when two are merged, and what merges itself.
    _SUMS = (
        "num_non_missing",
        "tot_num_values",
        "sums",
        "num_zeros",
        "num_nan",
        "total_length",
    )
    _SKETCHES = ("distinct", "top", "quantiles")

    def __init__(self, type_: int):
        self.type = type_
        self.num_non_missing = 0
        self.tot_num_values = 0
        self.min_num_values: int | None = None
        self.max_num_values = 0
        self.sums = np.zeros(2)
        self.num_zeros = 0
        self.num_nan = 0
        self.range = (np.inf, -np.inf)
        self.total_length = 0
        self.distinct = sketches.KmvSketch(_VALUES)
        self.top = sketches.MisraGriesSketch(_VALUES, "<not UTF-8>")
        self.quantiles = sketches.QuantilesSketch(_QUANTILE_ERROR, _MAX_NUMBERS, 1)

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers, or else bytes."""
        return self.type != _Kind.STRING

    def add(self, column: pa.Array) -> None:
        """Adds a column of lists; null means missing."""
        lengths = pc.list_value_length(column).drop_null()
        # An empty list is missing too.
        lengths = lengths.filter(pc.greater(lengths, 0))
        self.num_non_missing += len(lengths)
        if not len(lengths):
            return
        bounds = pc.min_max(lengths).as_py()
        smallest = self.min_num_values
        self.min_num_values = min(bounds["min"], smallest or bounds["min"])
        self.max_num_values = max(bounds["max"], self.max_num_values)
        values = column.flatten()
        self.tot_num_values += len(values)
        if self.is_number:
            self._add_numbers(values.to_numpy(zero_copy_only=False).astype(np.float64))
        else:
            self.total_length += pc.sum(pc.binary_length(values)).as_py()
            self.distinct.AddValues(values)
            self.top.AddValues(values)

    def _add_numbers(self, values: np.ndarray) -> None:
        known = values[~np.isnan(values)]
        self.num_nan += len(values) - len(known)
        if not len(known):
            return
        self.sums += known.sum(), np.square(known).sum()
        self.num_zeros += int((known == 0).sum())
        low, high = self.range
        self.range = (min(low, known.min()), max(high, known.max()))
        self.quantiles.AddValues(pa.array(known))

    def merge(self, other: "FeatureStatistics") -> None:
        """Adds what another one counted."""
        bounds = (self.min_num_values, other.min_num_values)
        self.min_num_values = min((b for b in bounds if b is not None), default=None)
        self.max_num_values = max(self.max_num_values, other.max_num_values)
        self.range = (
            min(self.range[0], other.range[0]),
            max(self.range[1], other.range[1]),
        )
        for name in self._SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in self._SKETCHES:
            getattr(self, name).Merge(getattr(other, name))

    def to_proto(self, name: str, num_examples: int) -> _Kind:
        """The proto of the feature."""
        proto = _Kind(type=self.type)
        proto.path.step.append(name)
        found = proto.num_stats if self.is_number else proto.string_stats
        common = found.common_stats
        common.num_non_missing = self.num_non_missing
        common.num_missing = num_examples - self.num_non_missing
        common.min_num_values = self.min_num_values or 0
        common.max_num_values = self.max_num_values
        common.tot_num_values = self.tot_num_values
        common.avg_num_values = self.tot_num_values / max(self.num_non_missing, 1)
        if self.is_number:
            self._fill_numbers(proto.num_stats)
        else:
            self._fill_strings(proto.string_stats)
        return proto

    def _fill_numbers(self, proto: Any) -> None:
        count = self.tot_num_values - self.num_nan
        histogram = proto.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
        histogram.num_nan = self.num_nan
        if not count:
            return
        mean, mean_square = self.sums / count
        proto.mean = mean
        proto.std_dev = np.sqrt(max(mean_square - mean**2, 0.0))
        proto.num_zeros = self.num_zeros
        proto.min, proto.max = self.range
        borders = self.quantiles.GetQuantiles(_QUANTILES).flatten().to_pylist()
        proto.median = borders[_QUANTILES // 2]
        for low, high in zip(borders, borders[1:], strict=False):
            histogram.buckets.add(
                low_value=low, high_value=high, sample_count=count / _QUANTILES
            )

    def _fill_strings(self, proto: Any) -> None:
        proto.unique = self.distinct.Estimate()
        proto.avg_length = self.total_length / max(self.tot_num_values, 1)
        counts = [(e["values"], e["counts"]) for e in self.top.Estimate().to_pylist()]
        for rank, (value, count) in enumerate(counts):
            label = value.decode()
            proto.rank_histogram.buckets.add(
                low_rank=rank, high_rank=rank, label=label, sample_count=count
            )
        for value, count in counts[:20]:
            proto.top_values.add(value=value.decode(), frequency=count)


class StatisticsFn(beam.CombineFn):
    """Combines record batches to `DatasetFeatureStatistics`.

    Args:
        split: name of the data set in the proto.
    """

    def __init__(self, split: str):
        self._split = split

    def create_accumulator(self) -> tuple[int, dict[str, FeatureStatistics]]:
        """No rows."""
        return 0, {}

    def add_input(self, accumulator: Any, batch: pa.RecordBatch) -> Any:
        """Adds a batch.

        Raises:
            ValueError: if a column had another type before.
        """
        num_examples, features = accumulator
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_null(column.type):
                continue
            if name not in features:
                features[name] = FeatureStatistics(_type(column))
            _check_type(name, features[name].type, _type(column))
            features[name].add(column)
        return num_examples + batch.num_rows, features

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Adds what the others counted to the first.

        Raises:
            ValueError: if they counted values of other types.
        """
        total, merged = self.create_accumulator()
        for num_examples, features in accumulators:
            total += num_examples
            for name, statistics in features.items():
                if name not in merged:
                    merged[name] = FeatureStatistics(statistics.type)
                _check_type(name, merged[name].type, statistics.type)
                merged[name].merge(statistics)
        return total, merged

    def extract_output(
        self, accumulator: Any
    ) -> statistics_pb2.DatasetFeatureStatistics:
        """The proto, features sorted by name."""
        num_examples, features = accumulator
        proto = statistics_pb2.DatasetFeatureStatistics(
            name=self._split, num_examples=num_examples
        )
        for name in sorted(features):
            proto.features.append(features[name].to_proto(name, num_examples))
        return proto


def _check_type(name: str, type_: int, other: int) -> None:
    if type_ != other:
        kinds = [_Kind.Type.Name(each) for each in sorted((type_, other))]
        raise ValueError(
            f"Column {name!r} must have one type in all files of a split. Received: "
            f"{' and '.join(kinds)}. Write its values as one of them."
        )


def _type(column: pa.Array) -> int:
    kind = column.type.value_type
    if pa.types.is_integer(kind):
        return _Kind.INT
    return _Kind.FLOAT if pa.types.is_floating(kind) else _Kind.STRING
