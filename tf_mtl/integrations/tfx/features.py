"""Features that a tf.Transform graph computes from raw columns."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tf_mtl.features import Feature, Preprocessor


class TransformedFeatures(Preprocessor):
    """A preprocessor in two steps: a tf.Transform graph, then features of its outputs.

    A call takes raw columns, as of every preprocessor, so that an export holds the
    graph. `apply` takes what Transform wrote: the columns after the graph.

    Each raw column has one value a row. In a call it is `[batch]`, with "" or NaN for a
    missing value, or sparse as `tf.io.parse_example` gives it.

    Args:
        features: features of the transformed columns. They learn nothing: the graph
            did.
        transform_graph: folder of the graph, the output of Transform.
        columns: names of the raw columns that the features follow from.

    Raises:
        ValueError: if a feature has to learn, or a column is not known to the graph.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        transform_graph: str | os.PathLike[str],
        columns: Sequence[str],
    ) -> None:
        super().__init__(features)
        if not self.adapted:
            raise ValueError(
                "`features` must learn nothing: the transform graph did. Received: "
                f"{[f.name for f in self.features if f.learner() is not None]}. Use "
                "IntegerRange for ids, Numeric(normalization=None, default=0.0) for "
                "numbers."
            )
        output = tft.TFTransformOutput(os.fspath(transform_graph))
        self._raw_spec = output.raw_feature_spec()
        unknown = sorted(set(columns) - set(self._raw_spec))
        if unknown:
            raise ValueError(
                f"`columns` must be raw columns: {sorted(self._raw_spec)}. Received: "
                f"{unknown}."
            )
        self._raw_columns = tuple(columns)
        # Trackable, so a SavedModel finds its lookup tables.
        self._transform = output.transform_features_layer()

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Maps raw columns to model inputs."""
        columns = {name: self._read(name, raw[name]) for name in self._raw_columns}
        return self.encode_transformed(self._transform(columns))

    def encode_transformed(self, columns: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Maps transformed columns to model inputs."""
        return super().__call__(columns)

    def apply(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Maps the transformed columns of a batched data set of tuples."""

        def encode(columns: Mapping[str, Any], *rest: Any) -> Any:
            return (self.encode_transformed(columns), *rest)

        return dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE)

    def transform_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Everything that the graph computes of serialized examples, labels too."""
        return self._transform(tf.io.parse_example(examples, self._raw_spec))

    def parsing_spec(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """How `tf.io.parse_example` reads raw columns."""
        return {name: self._raw_spec[name] for name in (*self._raw_columns, *labels)}

    def raw_signature(self) -> dict[str, tf.TensorSpec]:
        """Types of the raw columns in a serving signature, `[None]` each."""
        return {
            name: tf.TensorSpec([None], self._raw_spec[name].dtype, name=name)
            for name in self._raw_columns
        }

    def get_config(self) -> dict[str, Any]:
        """Not supported: a graph is saved by an export only."""
        raise NotImplementedError(
            "A `.keras` file does not hold a tf.Transform graph. Export the model by "
            "`tf_mtl.export.save`, or save its weights by `save_weights`."
        )

    def _read(self, name: str, value: Any) -> Any:
        if isinstance(value, tf.SparseTensor):
            return value
        spec = self._raw_spec[name]
        value = tf.cast(value, spec.dtype)
        if isinstance(spec, tf.io.VarLenFeature):
            return _to_sparse(value)
        return tf.reshape(value, [-1, *spec.shape])


def _to_sparse(values: tf.Tensor) -> tf.SparseTensor:
    """Values `[batch]` as a sparse `[batch, 1]`, without the missing ones."""
    if values.dtype == tf.string:
        present = tf.not_equal(values, "")
    elif values.dtype.is_floating:
        present = tf.math.logical_not(tf.math.is_nan(values))
    else:
        present = tf.ones_like(values, tf.bool)
    rows = tf.where(present)
    shape = tf.stack([tf.shape(values, tf.int64)[0], 1])
    indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, tf.boolean_mask(values, present), shape)
