"""Losses fit for a logarithm or a division."""

import tensorflow as tf

_FLOOR = 1e-8


def positive(losses: tf.Tensor) -> tf.Tensor:
    """Losses with a floor of 1e-8, so that a perfect batch keeps a finite weight.

    A negative loss becomes NaN: it has no logarithm, and a method that returns NaN
    makes the step take the mean and count it, where a floor would hand the task a
    weight of 1e8 in silence.

    Args:
        losses: float64 tensor of any shape.

    Returns:
        Tensor like `losses`.
    """
    nan = tf.constant(float("nan"), losses.dtype)
    return tf.where(losses < 0.0, nan, tf.maximum(losses, _FLOOR))
