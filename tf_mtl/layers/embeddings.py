"""Embedding of all features, at a cost that does not depend on the vocabularies."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

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
        allow_sequences: bool. Whether features may be sequences, lists without a
            `combiner`: a call leaves them out, and `sequences` gives them.
        l2: float, at least 0. In training the layer adds a loss: this times the squared
            norm of each vector that is looked up, padding aside, summed over the
            features and their lists, mean over the examples.

    Call arguments:
        inputs: dict of model inputs, as `Preprocessor` makes them.
        training: bool.

    Returns:
        tensor of shape `(batch, width)`; with `copies > 1`, `(copies, batch, width)`.
        Features follow each other in their order.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        copies: int = 1,
        initializer: Any = "uniform",
        allow_sequences: bool = False,
        l2: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.features = tuple(features)
        self.copies = copies
        self.initializer = keras.initializers.get(initializer)
        self.l2 = l2
        self.allow_sequences = allow_sequences
        # A layer for each feature, since a layer forgets its losses when it is called
        # anew; in float32, where sums of squares are exact enough.
        self._penalties = {
            f.name: keras.layers.ActivityRegularization(l2=l2, dtype="float32")
            for f in self.features
            if l2 and isinstance(f, IdFeature)
        }
        self._joined = [f for f in self.features if not is_sequence(f)]
        sequences = [f.name for f in self.features if is_sequence(f)]
        if sequences and not allow_sequences:
            raise ValueError(
                "`features` must be vectors or lists with a `combiner` to be joined. "
                f"Received sequences: {sequences}. Give a feature combiner='mean', "
                "'sum' or 'sqrtn', or its model `pooling`: {'"
                f"{sequences[0]}': layers.TargetAttention(query=...)}}. A layer that "
                "is used directly takes allow_sequences=True."
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

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Joins the vectors of all features."""
        return tf.concat(list(self.vectors(inputs, training).values()), axis=-1)

    def vectors(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> dict[str, tf.Tensor]:
        """The vector of each feature that is no sequence.

        Args:
            inputs: dict of model inputs, as `Preprocessor` makes them.
            training: bool.

        Returns:
            dict by feature, in their order, of tensors `(batch, width)`; with
            `copies > 1`, `(copies, batch, width)`.
        """
        return {f.name: self._vector(f, inputs, training) for f in self._joined}

    def sequences(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Looks up the features that are sequences.

        Args:
            inputs: dict of model inputs, as `Preprocessor` makes them.
            training: bool.

        Returns:
            dict by feature of the vectors `(batch, length, width * copies)` and their
            mask, bool `(batch, length)`, False on padding.
        """
        found = {}
        for feature in self.features:
            if is_sequence(feature):
                vectors, ids = self._look_up(feature, inputs, training)
                found[feature.name] = (vectors, tf.not_equal(ids, 0))
        return found

    def compute_output_shape(self, tables: Any = None) -> tuple[int | None, ...]:
        """Shape of the output, for a batch of any size."""
        del tables
        shape = (None, sum(map(_width, self._joined)))
        return shape if self.copies == 1 else (self.copies, *shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "allow_sequences": self.allow_sequences,
            "features": [keras.saving.serialize_keras_object(f) for f in self.features],
            "copies": self.copies,
            "l2": self.l2,
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

    def _vector(
        self, feature: Feature, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        if not isinstance(feature, IdFeature):
            numbers = [inputs[name] for name in feature.inputs()]
            joined = tf.cast(tf.concat(numbers, axis=-1), self.compute_dtype)
            return joined if self.copies == 1 else tf.stack([joined] * self.copies)
        vectors, ids = self._look_up(feature, inputs, training)
        if feature.max_length is not None:
            weights = tf.cast(tf.not_equal(ids, 0), self.compute_dtype)
            if feature.weights is not None:
                weights *= tf.cast(inputs[feature.weights_name], self.compute_dtype)
            vectors = pool(vectors, weights, feature.combiner)
        if self.copies == 1:
            return vectors
        return tf.stack(tf.split(vectors, self.copies, axis=-1))

    def _look_up(
        self, feature: IdFeature, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        ids = inputs[feature.name]
        vectors = tf.gather(self.tables[feature.state_name].value, ids)
        if training and self.l2:
            kept = vectors
            if feature.max_length is not None:
                kept = tf.where(tf.not_equal(ids, 0)[..., None], vectors, 0.0)
            self._penalties[feature.name](kept)
        return tf.cast(vectors, self.compute_dtype), ids


def _width(feature: Feature) -> int:
    """Width of the vector of a feature."""
    if isinstance(feature, IdFeature):
        return feature.embedding_dim
    return sum(numbers.shape[-1] for numbers in feature.inputs().values())


def is_sequence(feature: Feature) -> TypeGuard[IdFeature]:
    """Whether a feature is a list that no `combiner` pools."""
    return (
        isinstance(feature, IdFeature)
        and feature.max_length is not None
        and feature.combiner is None
    )


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
