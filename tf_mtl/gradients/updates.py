"""What happens to a batch with bad numbers: no update, and a warning."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.gradients.capture import Gradient, all_finite, map_gradient
from tf_mtl.gradients.replicas import on_all_replicas

# Gives an optimizer the gradients of the variables.
Update = Callable[[list[tf.Tensor | tf.IndexedSlices]], Any]


def update_if_finite(
    update: Update,
    found: Sequence[tf.Tensor | tf.IndexedSlices],
    losses: Sequence[tf.Tensor],
    skips_itself: bool,
) -> tf.Tensor:
    """Updates variables, unless a loss or gradient is not finite.

    Args:
        update: what updates them. Traced once.
        found: gradients, this replica's part.
        losses: float tensors that must be finite too.
        skips_itself: bool. Whether `update` must see gradients that are not finite, as
            an optimizer with a loss scale must, which it lowers then.

    Returns:
        bool scalar: whether all of them were finite, on all replicas.
    """
    is_ok = on_all_replicas(all_finite([*losses, *found]))
    if skips_itself:
        update(list(found))
    elif tf.distribute.has_strategy():
        # Optimizers merge replicas (even one), not possible inside a condition:
        # hand them a zero gradient instead of skipping.
        update(
            [
                map_gradient(lambda g: tf.where(is_ok, g, tf.zeros_like(g)), gradient)
                for gradient in found
            ]
        )
    else:
        tf.cond(is_ok, lambda: _then_zero(update(list(found))), lambda: tf.constant(0))
    return is_ok


def reached_only(
    found: Sequence[Gradient], variables: Sequence[Any]
) -> tuple[list[tf.Tensor | tf.IndexedSlices], list[Any]]:
    """Gradients that are not `None`, and their variables."""
    pairs = zip(found, variables, strict=True)
    reached = [(gradient, v) for gradient, v in pairs if gradient is not None]
    return [gradient for gradient, _ in reached], [v for _, v in reached]


def warn_of_skipped_updates(epoch: int, count: int) -> None:
    """Warns that updates were skipped.

    Args:
        epoch: int, from 0.
        count: int, positive.
    """
    warnings.warn(
        f"{count} update(s) of epoch {epoch + 1} were skipped, because "
        "a loss or gradient was not finite. Look for non-finite values in the "
        "features, labels or sample weights, or lower the learning rate.",
        stacklevel=3,
    )


def _then_zero(_: Any) -> tf.Tensor:
    return tf.constant(0)
