"""Embedding of all features, at a cost that does not depend on the vocabularies."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, IdFeature
from tf_mtl.layers.initializers import distinct


@keras.saving.register_keras_serializable(package="tf_mtl")
class FeatureEmbedding(keras.layers.Layer):
    """Looks up the ids of all features and joins them with the numbers.

    Rows are gathered from the resource of the table, never read whole, so that their
    gradient is `tf.IndexedSlices` and the cost depends on the ids of the batch only.

    Args:
        features: sequence of features.
        copies: int. Number of independent embeddings of each id, side by side in one
            table: a model whose tasks share nothing gives each task its own.
        initializer: Keras initializer of the tables; each draws numbers of its own.

    Call arguments:
        inputs: dict of model inputs, as `Preprocessor` makes them.

    Returns:
        tensor of shape `(batch, width)`; with `copies > 1`, `(copies, batch, width)`.
        Features follow each other in their order.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        copies: int = 1,
        initializer: Any = "uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.features = tuple(features)
        self.copies = copies
        self.initializer = keras.initializers.get(initializer)
        sequences = [
            f.name
            for f in self.features
            if isinstance(f, IdFeature) and f.max_length and f.combiner is None
        ]
        if sequences:
            raise ValueError(
                "`features` must be vectors or lists with a `combiner` to be joined. "
                f"Received sequences: {sequences}. Pass combiner='mean', 'sum' or "
                "'sqrtn'."
            )

    def build(self, tables: Mapping[str, tuple[int, int]]) -> None:
        """Creates the tables.

        Args:
            tables: `(num_ids, embedding_dim)` by name of the table.
        """
        self.tables = {
            name: self.add_weight(
                shape=(num_ids, width * self.copies),
                initializer=initializer,
                name=name,
                # A cast of a table to the compute dtype would cost all of its rows.
                autocast=False,
            )
            for (name, (num_ids, width)), initializer in zip(
                tables.items(), distinct(self.initializer, len(tables)), strict=True
            )
        }
        self.built = True

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Joins the vectors of all features."""
        parts = [part for f in self.features for part in self._parts(f, inputs)]
        if self.copies == 1:
            return tf.concat(parts, axis=-1)
        by_copy = [
            tf.split(part, self.copies, axis=-1) if is_table else [part] * self.copies
            for part, is_table in zip(parts, self._is_table(), strict=True)
        ]
        return tf.stack([tf.concat(c, -1) for c in zip(*by_copy, strict=True)])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "features": [keras.saving.serialize_keras_object(f) for f in self.features],
            "copies": self.copies,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "FeatureEmbedding":
        """Inverse of `get_config`."""
        config = dict(config)
        config["features"] = [
            keras.saving.deserialize_keras_object(f) for f in config["features"]
        ]
        return cls(**config)

    def _is_table(self) -> list[bool]:
        return [isinstance(feature, IdFeature) for feature in self.features]

    def _parts(
        self, feature: Feature, inputs: Mapping[str, tf.Tensor]
    ) -> list[tf.Tensor]:
        if not isinstance(feature, IdFeature):
            return [
                tf.cast(inputs[name], self.compute_dtype) for name in feature.inputs()
            ]
        ids = inputs[feature.name]
        vectors = tf.gather(self.tables[feature.state_name].value, ids)
        vectors = tf.cast(vectors, self.compute_dtype)
        if feature.max_length is None:
            return [vectors]
        weights = tf.cast(tf.not_equal(ids, 0), self.compute_dtype)
        if feature.weights is not None:
            weights *= tf.cast(inputs[feature.weights_name], self.compute_dtype)
        return [pool(vectors, weights, feature.combiner)]


def pool(vectors: tf.Tensor, weights: tf.Tensor, combiner: str | None) -> tf.Tensor:
    """Pools lists of vectors.

    Args:
        vectors: float tensor of shape `(batch, length, width)`.
        weights: float tensor of shape `(batch, length)`, 0 on padding.
        combiner: `"sum"`; `"mean"`, divided by the sum of the weights; or `"sqrtn"`,
            divided by the root of the sum of their squares.

    Returns:
        float tensor of shape `(batch, width)`; zeros for an empty list.
    """
    total = tf.reduce_sum(weights[..., None] * vectors, axis=1)
    if combiner == "sum":
        return total
    if combiner == "mean":
        norm = tf.reduce_sum(weights, axis=1, keepdims=True)
    else:
        norm = tf.sqrt(tf.reduce_sum(tf.square(weights), axis=1, keepdims=True))
    return tf.math.divide_no_nan(total, norm)
