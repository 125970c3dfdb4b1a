"""Mixtures of experts, one mixture per gate."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl import gradients


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
    weights = [weight[..., None] for weight in tf.unstack(gates, axis=-1)]

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_gate = [weight * upstream for weight in weights]
        if experts.shape.rank == 3:
            to_experts = tf.stack([tf.reduce_sum(each, axis=0) for each in by_gate])
        else:
            to_experts = tf.stack(by_gate, axis=1)
        return _gate_gradient(upstream, values), to_experts

    return _weighted_sum(weights, values), grad


def mix_own(gates: tf.Tensor, experts: tf.Tensor, owners: Sequence[int]) -> tf.Tensor:
    """Mixes expert outputs as `mix` does, but each expert learns from one gate alone.

    To all other gates its output is a constant, whose weight they learn.

    Args:
        gates: tensor of shape `(num_gates, batch, num_experts)`.
        experts: tensor of shape `(num_experts, batch, units)`.
        owners: for each expert the index of the gate that it learns from.

    Returns:
        tensor of shape `(num_gates, batch, units)`.
    """

    @tf.custom_gradient
    def mixed(gates: tf.Tensor, experts: tf.Tensor) -> Any:
        weights = [weight[..., None] for weight in tf.unstack(gates, axis=-1)]

        def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_experts = [
                weight[owner] * upstream[owner]
                for weight, owner in zip(weights, owners, strict=True)
            ]
            return _gate_gradient(upstream, experts), tf.stack(to_experts)

        return _weighted_sum(weights, experts), grad

    return mixed(gates, experts)


def mix_gramian(gates: tf.Tensor, cotangents: tf.Tensor) -> tf.Tensor:
    """Gramian of the gradients of `mix` at the experts, without forming them.

    The gradient of gate `i` at expert `e` is the cotangent of mixture `i` times
    `gates[i, :, e]`, row by row; so the inner product of two gates is the sum over rows
    of the product of two small ones.

    Args:
        gates: as `mix` takes them.
        cotangents: gradients at the mixtures, `(num_gates, batch, units)`.

    Returns:
        float32 tensor of shape `(num_gates, num_gates)`.
    """
    gates, cotangents = (
        tf.transpose(tf.cast(tensor, tf.float32), [1, 0, 2])
        for tensor in (gates, cotangents)
    )
    at_mixtures = tf.matmul(cotangents, cotangents, transpose_b=True)
    # Few experts: a sum that fuses beats one small matrix product per row.
    of_gates = tf.reduce_sum(gates[:, :, None] * gates[:, None], axis=-1)
    return tf.reduce_sum(at_mixtures * of_gates, axis=0)


def _weighted_sum(weights: Sequence[tf.Tensor], experts: tf.Tensor) -> tf.Tensor:
    """Sum over few experts: elementwise work that fuses, unlike tiny products."""
    pairs = zip(weights, tf.unstack(experts), strict=True)
    return tf.add_n([weight * expert for weight, expert in pairs])


def _gate_gradient(upstream: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """Inner products of each gate's gradient with each expert, row by row."""
    # Expert by expert, so that nothing larger than `upstream` is in memory.
    products = [
        gradients.inner_products(upstream, each) for each in tf.unstack(experts)
    ]
    return tf.cast(tf.stack(products, axis=-1), upstream.dtype)
