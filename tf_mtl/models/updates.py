"""The end of a train step: an update, or, after bad numbers, none."""

from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tf_mtl import gradients


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    found: Sequence[gradients.Gradient],
    variables: Sequence[keras.Variable],
    losses: Sequence[tf.Tensor],
) -> tf.Tensor:
    """Updates the variables, unless a loss or gradient is not finite.

    Args:
        optimizer: Keras optimizer.
        found: gradient of each variable, this replica's part; `None` for none.
        variables: all trainable variables.
        losses: float tensors that must be finite too.

    Returns:
        bool scalar: whether all of them were finite, on all replicas.
    """
    totals, changed = gradients.reached_only(found, variables)
    has_scale = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if not (optimizer.built or has_scale or tf.distribute.has_strategy()):
        with tf.init_scope():
            optimizer.build(variables)
    return gradients.update_if_finite(
        lambda gradients_: optimizer.apply(gradients_, changed),
        totals,
        losses,
        skips_itself=has_scale,
    )


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """What an optimizer wants losses to be multiplied with, float32 scalar."""
    return tf.cast(optimizer.scale_loss(tf.constant(1.0)), tf.float32)


def changing_weights(model: keras.Model) -> list[keras.Variable]:
    """Weights that a forward pass may change: neither trained nor frozen.

    Frozen are those of layers with `trainable=False`, such as a table that was learnt
    elsewhere, whose size must not show in the cost of a step.
    """
    frozen = {
        id(weight)
        for layer in _layers(model)
        if not layer.trainable
        for weight in layer.weights
    }
    return [v for v in model.non_trainable_weights if id(v) not in frozen]


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, and of the models among them."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
