"""Target attention: pools a sequence by what each item has to do with a query."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.dice import Dice
from tf_mtl.layers.registry import register

# Far below any score, and finite: the softmax of an empty sequence has no NaN.
_MASKED = -1e9


@register("pooling", "target_attention")
@keras.saving.register_keras_serializable(package="tf_mtl")
class TargetAttention(keras.layers.Layer):
    """Sums the vectors of a sequence, weighted by a small network of each and a query.

    The network reads `[q, k, q - k, q * k]` of the query `q` and the item `k`. Its
    first layer is split by these four parts, so that they are never written out.

    Args:
        query: str. In a model, the feature whose vector is the query, such as the item
            to be ranked. None: for a layer that is not the `pooling` of a model.
        hidden_units: widths of the hidden layers.
        activation: `"dice"` (see `Dice`) or a Keras activation, of the hidden layers.
        normalize: bool. Whether weights are a softmax over the sequence, taken in
            float32; else they are free, and keep how strong an interest is.

    Call arguments:
        items: float tensor of shape `(batch, length, width)`.
        query: float tensor of shape `(batch, width)`.
        mask: bool tensor of shape `(batch, length)`, False on padding. None: no
            padding.
        training: bool.

    Returns:
        tensor of shape `(batch, width)`; zeros for an empty sequence.

    Raises:
        ValueError: if a width in `hidden_units` is below 1; in `build`, if items and
            query differ in width.

    Reference:
        Zhou et al., Deep Interest Network, KDD 2018, arXiv:1706.06978. The paper adds
        an "out product" of query and item to the two; difference and elementwise
        product are those of public code, as are the sizes. Differs: padding counts
        neither in the sum nor in the statistics of Dice.
    """

    def __init__(
        self,
        query: str | None = None,
        hidden_units: Sequence[int] = (80, 40),
        activation: Any = "dice",
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.hidden_units = tuple(int(width) for width in hidden_units)
        if any(width < 1 for width in self.hidden_units):
            raise ValueError(
                "`hidden_units` must hold numbers of at least 1. "
                f"Received: hidden_units={hidden_units}."
            )
        self.activation = (
            activation if activation == "dice" else keras.activations.get(activation)
        )
        self.normalize = normalize
        self.supports_masking = True
        policy = self.dtype_policy
        self.dense = [
            keras.layers.Dense(width, name=f"dense_{index}", dtype=policy)
            for index, width in enumerate((*self.hidden_units, 1))
        ]
        self.activations = [
            Dice(name=f"dice_{index}", dtype=policy)
            if activation == "dice"
            else keras.layers.Activation(self.activation, dtype=policy)
            for index in range(len(self.hidden_units))
        ]

    def build(self, items_shape: Sequence[Any], query_shape: Sequence[Any]) -> None:
        """Creates the network."""
        width = items_shape[-1]
        if query_shape[-1] != width:
            raise ValueError(
                "`query` must have the width of the items. Received: items of width "
                f"{width}, query={self.query!r} of width {query_shape[-1]}. Give both "
                "features the same `embedding_dim`; they may share a `table`."
            )
        shape = (*items_shape[:-1], 4 * width)
        for index, layer in enumerate(self.dense):
            layer.build(shape)
            shape = (*shape[:-1], layer.units)
            if index < len(self.activations):
                self.activations[index].build(shape)

    def call(
        self,
        items: tf.Tensor,
        query: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Pools the sequences."""
        scores = self.scores(items, query, mask, training)
        return tf.linalg.matvec(items, scores, transpose_a=True)

    def scores(
        self,
        items: tf.Tensor,
        query: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """The weight of each item.

        Args:
            items: see the class.
            query: see the class.
            mask: see the class.
            training: bool.

        Returns:
            tensor of shape `(batch, length)`, 0 on padding.
        """
        if mask is None:
            mask = tf.ones(tf.shape(items)[:2], tf.bool)
        hidden = self._first(items, query)
        for dense, activation in zip(self.dense[1:], self.activations, strict=True):
            if isinstance(activation, Dice):
                hidden = activation(hidden, training=training, mask=mask)
            else:
                hidden = activation(hidden)
            hidden = dense(hidden)
        scores = hidden[..., 0]
        if self.normalize:
            scores = tf.cast(scores, tf.float32)
            scores = tf.nn.softmax(tf.where(mask, scores, _MASKED))
        return tf.cast(tf.where(mask, scores, tf.zeros_like(scores)), items.dtype)

    def compute_mask(self, *args: Any) -> None:
        """None: what comes out is not padded."""

    def compute_output_shape(
        self, items_shape: Sequence[int | None], query_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        del items_shape
        return tuple(query_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "query": self.query,
            "hidden_units": self.hidden_units,
            "activation": (
                self.activation
                if self.activation == "dice"
                else keras.activations.serialize(self.activation)
            ),
            "normalize": self.normalize,
        }

    def _first(self, items: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """The first layer of `[q, k, q - k, q * k]`, without forming it."""
        first = self.dense[0]
        of_query, of_items, of_difference, of_product = tf.split(
            tf.convert_to_tensor(first.kernel), 4
        )
        query = query[:, None]
        return (
            tf.matmul(query, of_query + of_difference)
            + tf.matmul(items, of_items - of_difference)
            + tf.matmul(query * items, of_product)
            + first.bias
        )
