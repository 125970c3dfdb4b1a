"""Fused attention: pools behaviours by their ids and by their contents, and mixes."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.target_attention import TargetAttention


@keras.saving.register_keras_serializable(package="tf_mtl")
class FusedAttention(keras.layers.Layer):
    """Attention over the ids and over the contents of behaviours, apart, then mixed.

    Each field has a softmax of its own over the sequence, which a `TargetAttention`
    scores against the same field of the target. A gate in `(0, 1)`, a function of how a
    behaviour was engaged with, scales its weight in both. A second gate, a softmax of a
    linear function of the two pooled vectors, weights these.

    Args:
        hidden_units: widths of the hidden layers of both attentions.
        gate_units: int. Width of the hidden ReLU layer of the engagement gate.
        activation: see `TargetAttention`.

    Call arguments:
        items: float tensor of shape `(batch, length, width)`, vectors of the ids.
        contents: float tensor of shape `(batch, length, content_width)`.
        engagement: float tensor of shape `(batch, length, num_signals)`: share watched,
            liked, followed ...
        item: float tensor of shape `(batch, width)`, the id of the target.
        content: float tensor of shape `(batch, content_width)`, that of the target.
        mask: bool tensor of shape `(batch, length)`, False on padding. None: no
            padding.
        training: bool.

    Returns:
        tensor of shape `(batch, width + content_width)`; zeros for an empty sequence.

    Raises:
        ValueError: if a width is below 1; in `build`, if a field differs in width
            between behaviours and target.

    Reference:
        The Fused Attention Unit of Guo et al., Query-dominant User Interest Network,
        CIKM 2023, arXiv:2310.06444. A reconstruction: separate attentions, and a fusion
        by the engagement of the user, are described in public; the form of the
        attentions and of both gates is not.
    """

    def __init__(
        self,
        hidden_units: Sequence[int] = (80, 40),
        gate_units: int = 16,
        activation: Any = "dice",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if gate_units < 1:
            raise ValueError(
                f"`gate_units` must be at least 1. Received: gate_units={gate_units}."
            )
        self.gate_units = gate_units
        self.supports_masking = True
        policy = self.dtype_policy
        self.item_attention, self.content_attention = (
            TargetAttention(
                hidden_units=hidden_units,
                activation=activation,
                normalize=True,
                name=name,
                dtype=policy,
            )
            for name in ("item_attention", "content_attention")
        )
        self.gate_hidden = keras.layers.Dense(
            gate_units, "relu", name="gate_hidden", dtype=policy
        )
        self.gate = keras.layers.Dense(1, "sigmoid", name="gate", dtype=policy)
        self.mixture = keras.layers.Dense(2, name="mixture", dtype=policy)

    def build(
        self,
        items_shape: Sequence[Any],
        contents_shape: Sequence[Any],
        engagement_shape: Sequence[Any],
        item_shape: Sequence[Any],
        content_shape: Sequence[Any],
    ) -> None:
        """Creates attentions and gates."""
        self.item_attention.build(items_shape, item_shape)
        self.content_attention.build(contents_shape, content_shape)
        self.gate_hidden.build(engagement_shape)
        self.gate.build((*engagement_shape[:-1], self.gate_units))
        self.mixture.build((item_shape[0], items_shape[-1] + contents_shape[-1]))

    def call(
        self,
        items: tf.Tensor,
        contents: tf.Tensor,
        engagement: tf.Tensor,
        item: tf.Tensor,
        content: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Pools both fields and mixes them."""
        engaged = self.gate(self.gate_hidden(engagement))[..., 0]
        pooled = [
            tf.linalg.matvec(
                field,
                engaged * attention.scores(field, query, mask, training),
                transpose_a=True,
            )
            for attention, field, query in (
                (self.item_attention, items, item),
                (self.content_attention, contents, content),
            )
        ]
        logits = self.mixture(tf.concat(pooled, axis=-1))
        shares = tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), logits.dtype)
        by_field = zip(tf.split(shares, 2, axis=-1), pooled, strict=True)
        return tf.concat([share * field for share, field in by_field], axis=-1)

    def compute_mask(self, *args: Any) -> None:
        """None: what comes out is not padded."""

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        attention = self.item_attention.get_config()
        return {
            **super().get_config(),
            "hidden_units": attention["hidden_units"],
            "gate_units": self.gate_units,
            "activation": attention["activation"],
        }
