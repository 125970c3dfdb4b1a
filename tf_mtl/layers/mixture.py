"""Mixtures of experts, one mixture per gate."""

import tensorflow as tf


def mix(gates: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """Mixes expert outputs by gate weights.

    Args:
        gates: tensor of shape `(num_gates, batch, num_experts)`.
        experts: tensor of shape `(num_experts, batch, units)`; or a copy of that for
            each gate, `(num_gates, num_experts, batch, units)`, so that the gradient
            of each gate arrives separately.

    Returns:
        tensor of shape `(num_gates, batch, units)`.
    """
    # Sums over few experts: elementwise work that fuses, unlike tiny batched products.
    weights = tf.unstack(gates, axis=-1)
    outputs = tf.unstack(experts, axis=-3)
    terms = [w[..., None] * u for w, u in zip(weights, outputs, strict=True)]
    return tf.add_n(terms)
