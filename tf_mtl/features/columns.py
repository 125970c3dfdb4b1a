"""Raw columns: how one named input is read, parsed and declared for serving."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf


class Column(NamedTuple):
    """One raw column of a batch.

    Args:
        name: string. Key in the raw feature dictionary.
        dtype: `tf.string`, `tf.int64` or `tf.float32`. Integer columns accept every
            integer dtype; float columns accept integers and booleans too.
        missing: the raw value that means missing: `""` for strings, NaN for floats,
            an integer or None (nothing means missing) for integers.
        is_list: bool. False for `[batch]` (one value a row), True for
            `[batch, values]`, dense (padded with `missing`), ragged or sparse.
    """

    name: str
    dtype: tf.DType
    missing: str | float | int | None
    is_list: bool = False

    @property
    def rank(self) -> int:
        """Rank of a batch of this column."""
        return 2 if self.is_list else 1

    def of(self, raw: Mapping[str, Any]) -> Any:
        """The entry of this column in `raw`, values or type specs.

        Raises:
            ValueError: if `raw` does not hold the column.
        """
        if self.name not in raw:
            raise ValueError(
                f"Column {self.name!r} is missing from the data. Received: columns "
                f"{sorted(raw)}. Add the column (a row without a value holds "
                f"{self.missing!r}), or drop the features that read it."
            )
        return raw[self.name]

    def read(self, raw: Mapping[str, Any]) -> tf.Tensor | tf.RaggedTensor:
        """Reads the column from a batch, checked and in its own dtype.

        Args:
            raw: dictionary of batched tensors. Other columns are ignored.

        Returns:
            `[batch]` tensor, or for a list column a `[batch, (values)]` ragged tensor
            with int64 row splits.

        Raises:
            ValueError: if the column is missing or has another rank.
            TypeError: if its dtype cannot be read as `dtype`.
        """
        value = self.of(raw)
        if not isinstance(value, tf.RaggedTensor | tf.SparseTensor):
            value = tf.convert_to_tensor(value)
        self._check(value.dtype, value.shape)
        if isinstance(value, tf.SparseTensor):
            value = tf.RaggedTensor.from_sparse(value)
        elif self.is_list and not isinstance(value, tf.RaggedTensor):
            value = tf.RaggedTensor.from_tensor(value)
        if self.is_list:
            value = value.with_row_splits_dtype(tf.int64)
        return tf.cast(value, self.dtype)

    def parsing(self) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
        """How `tf.io.parse_example` reads the column.

        Returns:
            A feature whose default means missing. An integer column without a
            `missing` value has no default: every example must hold it.
        """
        if self.is_list:
            return tf.io.RaggedFeature(self.dtype, row_splits_dtype=tf.int64)
        return tf.io.FixedLenFeature([], self.dtype, default_value=self.missing)

    def signature(self) -> tf.TensorSpec:
        """Type of the column in a serving signature, `[None]` or `[None, None]`."""
        return tf.TensorSpec([None] * self.rank, self.dtype, name=self.name)

    def _check(self, dtype: tf.DType, shape: tf.TensorShape) -> None:
        if self.dtype == tf.string:
            readable = dtype == tf.string
        elif self.dtype == tf.int64:
            readable = dtype.is_integer
        else:
            readable = dtype.is_floating or dtype.is_integer or dtype.is_bool
        if not readable:
            raise TypeError(
                f"Column {self.name!r} is read as {self.dtype.name}. Received: "
                f"dtype={dtype.name}. Convert the column, or describe it by a feature "
                "of its dtype."
            )
        if shape.rank not in (None, self.rank):
            expected = "[batch, values]" if self.is_list else "[batch]"
            raise ValueError(
                f"Column {self.name!r} must have shape {expected}. Received: "
                f"shape={shape}. Batch or squeeze the data; `max_length` makes a "
                "feature read several values a row."
            )
