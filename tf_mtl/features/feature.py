"""What every feature is, and what every feature with ids is."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.features.columns import Column
from tf_mtl.features.learners import Learner

COMBINERS = ("mean", "sum", "sqrtn", None)
KEEP = ("last", "first")

# Fields that belong to one feature, not to the table that it looks up.
_OWN_FIELDS = frozenset(
    ("name", "column", "personal", "table", "max_length", "keep", "weights", "combiner")
)


@dataclasses.dataclass(frozen=True)
class Feature(abc.ABC):
    """One feature: which raw column it reads, what it learns, what it outputs.

    A feature is an immutable description. What is learned from data lives in the
    `Preprocessor`, as one 1-D array for each `state_name`, and is handed to
    `prepare`. A new kind of feature implements `columns`, `encode` and `inputs`, and
    `learner`, `observe` and `prepare` if it learns.

    Args:
        name: string without `/`. Name of the feature and of its model input.
        column: string. Raw column to read; None reads the column called `name`. Two
            features may read one column, such as a number as is and in buckets.
        personal: bool. True for a feature that says who asks for what (user, item,
            author id): the input of personalised gates.

    Raises:
        ValueError: if `name` is empty or holds a `/`.
    """

    name: str
    _: dataclasses.KW_ONLY
    column: str | None = None
    personal: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            raise ValueError(
                "`name` must be a string, not empty and without '/'. Received: "
                f"name={self.name!r}. Pass `column` to read a column of any name."
            )

    @property
    def column_name(self) -> str:
        """Name of the raw column."""
        return self.column or self.name

    @property
    def state_name(self) -> str:
        """Name of what is learned; features with one name share it."""
        return self.name

    @abc.abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The raw columns that are read."""

    @abc.abstractmethod
    def encode(self, raw: Mapping[str, Any], prepared: Any) -> dict[str, tf.Tensor]:
        """Maps a batch of raw columns to model inputs.

        Args:
            raw: dictionary of batched raw tensors.
            prepared: what `prepare` returned.

        Returns:
            dictionary of tensors with the keys, shapes and dtypes of `inputs`.
        """

    @abc.abstractmethod
    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Symbolic model inputs, one for each output of `encode`."""

    def learner(self) -> Learner | None:
        """A new statistic to learn from data; None when nothing is learned."""
        return None

    def observe(self, raw: Mapping[str, Any]) -> tf.Tensor:
        """The values that `learner` sees of a batch, a tensor of rank 1."""
        values = self.columns()[0].read(raw)
        return values.flat_values if isinstance(values, tf.RaggedTensor) else values

    def prepare(self, learned: np.ndarray | None) -> Any:
        """Builds what `encode` needs, once.

        Args:
            learned: array of rank 1 that `learner` gave; None when nothing is learned.

        Returns:
            A lookup table or constants; None when `encode` needs nothing.
        """
        return None

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, tuples as lists."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Builds the feature from `get_config`."""
        return cls(**config)


@dataclasses.dataclass(frozen=True)
class IdFeature(Feature):
    """A feature that becomes int32 ids of the rows of an embedding table.

    Id 0 means missing, everywhere: an empty string, NaN, the `missing_value` of an
    integer column, an absent value, and the padding of lists. `ids != 0` is the mask.

    A feature has one value a row and outputs `[batch]` ids. With `max_length` it has a
    list of values a row and outputs `[batch, max_length]` ids: missing values are
    dropped, a longer list is cut, a shorter one padded with 0 at its end; a row without
    values is all 0. `combiner` then says what the embedding layer makes of the list:
    one pooled vector, or with None the sequence of vectors in their order.

    Features that name one `table` share its ids and embeddings; all settings of the
    table (everything but the arguments listed here, and `embedding_dim`) must be equal.
    `dataclasses.replace` makes such a feature from another.

    Args:
        embedding_dim: int. Width of the embedding vectors.
        table: string without `/`. Embedding table; None names it as the feature.
        max_length: int. Length of lists; None for one value a row.
        keep: `"last"` or `"first"`. Which end of a longer list to keep; the last
            values are the most recent ones of a history.
        combiner: `"mean"`, `"sum"`, `"sqrtn"` or None. Pooling of a list; None keeps
            the sequence.
        weights: string. Float column with one weight for each value of a list, of the
            same lengths. It becomes the float32 model input `<name>_weights`
            `[batch, max_length]`, 0 on padding; a NaN weight is 0.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _: dataclasses.KW_ONLY
    embedding_dim: int = 16
    table: str | None = None
    max_length: int | None = None
    keep: str = "last"
    combiner: str | None = "mean"
    weights: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("embedding_dim", self.embedding_dim)
        if self.max_length is not None:
            check_count("max_length", self.max_length)
        if self.keep not in KEEP:
            raise ValueError(
                f"`keep` must be one of {KEEP}. Received: keep={self.keep!r}."
            )
        if self.combiner not in COMBINERS:
            raise ValueError(
                f"`combiner` must be one of {COMBINERS}. Received: "
                f"combiner={self.combiner!r}."
            )
        if self.weights is not None and None in (self.max_length, self.combiner):
            raise ValueError(
                "`weights` are for pooled lists: they need `max_length` and a "
                f"`combiner`. Received: weights={self.weights!r}, "
                f"max_length={self.max_length}, combiner={self.combiner!r}."
            )
        if self.table is not None and (not self.table or "/" in self.table):
            raise ValueError(
                "`table` must be a string, not empty and without '/'. Received: "
                f"table={self.table!r}."
            )

    @property
    def state_name(self) -> str:
        """Name of the embedding table, and of what is learned for it."""
        return self.table or self.name

    @property
    def weights_name(self) -> str:
        """Name of the model input that holds the weights."""
        return f"{self.name}_weights"

    @property
    @abc.abstractmethod
    def raw_dtype(self) -> tf.DType:
        """Dtype of the raw column."""

    @property
    @abc.abstractmethod
    def raw_missing(self) -> str | float | int | None:
        """Raw value that means missing; None if no value does."""

    @abc.abstractmethod
    def num_ids(self, learned: np.ndarray | None) -> int:
        """Rows of the embedding table, id 0 included, after `learned`."""

    @abc.abstractmethod
    def to_ids(self, values: tf.Tensor, prepared: Any) -> tf.Tensor:
        """Maps raw values of any shape to int32 ids."""

    def table_settings(self) -> dict[str, Any]:
        """What features of one table must have in common, their type included."""
        config = self.get_config()
        shared = {k: v for k, v in config.items() if k not in _OWN_FIELDS}
        return {"type": type(self).__name__, **shared}

    def columns(self) -> tuple[Column, ...]:
        """The column of values, then the column of weights if there is one."""
        is_list = self.max_length is not None
        values = Column(self.column_name, self.raw_dtype, self.raw_missing, is_list)
        if self.weights is None:
            return (values,)
        return values, Column(self.weights, tf.float32, float("nan"), is_list=True)

    def encode(self, raw: Mapping[str, Any], prepared: Any) -> dict[str, tf.Tensor]:
        """Maps raw columns to ids, and weights if there are any."""
        values, *weights = (column.read(raw) for column in self.columns())
        if self.max_length is None:
            return {self.name: self.to_ids(values, prepared)}
        ids = self.to_ids(values.flat_values, prepared)
        present = values.with_flat_values(tf.not_equal(ids, 0))
        ids = values.with_flat_values(ids)
        outputs = {self.name: self._pad(tf.ragged.boolean_mask(ids, present))}
        for weight in weights:
            tf.debugging.assert_equal(
                weight.row_splits,
                values.row_splits,
                f"Column {self.weights!r} must hold one weight for each value of "
                f"column {self.column_name!r}.",
            )
            flat = weight.flat_values
            flat = tf.where(tf.math.is_nan(flat), 0.0, flat)
            kept = tf.ragged.boolean_mask(values.with_flat_values(flat), present)
            outputs[self.weights_name] = self._pad(kept)
        return outputs

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Int32 ids `[batch]` or `[batch, max_length]`, and float32 weights."""
        shape = () if self.max_length is None else (self.max_length,)
        inputs = {self.name: keras.Input(shape, dtype="int32", name=self.name)}
        if self.weights is not None:
            name = self.weights_name
            inputs[name] = keras.Input(shape, dtype="float32", name=name)
        return inputs

    def _pad(self, rows: tf.RaggedTensor) -> tf.Tensor:
        length = self.max_length or 0
        rows = rows[:, -length:] if self.keep == "last" else rows[:, :length]
        return rows.to_tensor(shape=[None, length])


def check_count(name: str, value: Any) -> None:
    """Checks that an argument is a positive integer.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )
