"""The end of a train step: an update, or, after bad numbers, none."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.gradients.replicas import num_replicas, replica_sum


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
    pairs = zip(found, variables, strict=True)
    reached = [(gradient, v) for gradient, v in pairs if gradient is not None]
    totals = [gradient for gradient, _ in reached]
    changed = [variable for _, variable in reached]
    is_ok = on_all_replicas(gradients.all_finite([*losses, *totals]))
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # It must see non-finite gradients: it skips them and lowers its scale.
        optimizer.apply(totals, changed)
    elif tf.distribute.has_strategy():
        # Optimizers merge replicas (even one), not possible inside a condition:
        # hand them a zero gradient instead of skipping.
        zeroed = [
            gradients.map_gradient(lambda g: tf.where(is_ok, g, tf.zeros_like(g)), g)
            for g in totals
        ]
        optimizer.apply(zeroed, changed)
    else:
        if not optimizer.built:
            with tf.init_scope():
                optimizer.build(variables)
        tf.cond(
            is_ok,
            lambda: _then_zero(optimizer.apply(totals, changed)),
            lambda: tf.constant(0),
        )
    return is_ok


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """What an optimizer wants losses to be multiplied with, float32 scalar."""
    return tf.cast(optimizer.scale_loss(tf.constant(1.0)), tf.float32)


def on_all_replicas(condition: tf.Tensor) -> tf.Tensor:
    """Whether a bool scalar is True on all replicas."""
    return replica_sum(tf.cast(condition, tf.int32)) == num_replicas()


class Snapshot:
    """Values of variables, kept to be put back.

    An aggregator undoes what it learnt from rows and losses that are not finite, but
    it sees neither the gradients of single tasks nor the running means of layers. So
    a skipped step puts back the state of both.

    Args:
        variables: sequence of variables. Each is read, so none should be large.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self._kept = [(v, tf.identity(v.value)) for v in variables]

    def put_back_unless(self, is_ok: tf.Tensor) -> None:
        """Gives the variables their values back if the bool scalar is False."""
        for variable, value in self._kept:
            variable.assign(tf.where(is_ok, variable.value, value))


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


def _then_zero(_: Any) -> tf.Tensor:
    return tf.constant(0)
