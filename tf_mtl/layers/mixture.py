"""Mixtures of experts, one mixture per gate."""

from typing import Any

import tensorflow as tf


@tf.custom_gradient
def mix(gates: tf.Tensor, experts: tf.Tensor) -> Any:
    """Mixes expert outputs by gate weights.

    Args:
        gates: tensor of shape `(num_gates, batch, num_experts)`.
        experts: tensor of shape `(num_experts, batch, units)`; or a copy of that for
            each gate, `(num_gates, num_experts, batch, units)`, so that the gradient
            of each gate arrives separately.

    Returns:
        tensor of shape `(num_gates, batch, units)`.
    """
    values = experts if experts.shape.rank == 3 else experts[0]
    # Sums over few experts: elementwise work that fuses, unlike tiny batched products.
    weights = [weight[..., None] for weight in tf.unstack(gates, axis=-1)]
    terms = [w * u for w, u in zip(weights, tf.unstack(values), strict=True)]

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_gate = [weight * upstream for weight in weights]
        if experts.shape.rank == 3:
            to_experts = tf.stack([tf.reduce_sum(each, axis=0) for each in by_gate])
        else:
            to_experts = tf.stack(by_gate, axis=1)
        return _gate_gradient(upstream, values), to_experts

    return tf.add_n(terms), grad


def _gate_gradient(upstream: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """Inner products of each gate's gradient with each expert, row by row."""
    # One product per row: under XLA on CPU a sum of elementwise products over the units
    # does not fuse, and each expert would cost a tensor of the size of `upstream`.
    by_row = tf.matmul(
        tf.transpose(upstream, [1, 0, 2]), tf.transpose(experts, [1, 2, 0])
    )
    return tf.transpose(by_row, [1, 0, 2])
