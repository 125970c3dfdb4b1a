"""What all methods that look at gradients have in common."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import get


class GradientAggregator(Aggregator):
    """A method that looks at the gradient of each task.

    Args:
        loss_weighting: `LossWeighting`, its name or its config. It scales the losses,
            towers included, before their gradients are taken; the method then sees
            the gradients of the scaled losses. None: no scaling.
        normalize_to: `"mean"` rescales the direction to the norm of the mean of the
            rows, so that a learning rate tuned for equal weights carries over. None:
            the length that the method gives it.
        max_norm: positive float. A longer direction is shortened to this norm. None:
            no limit.
        **kwargs: see `Aggregator`.

    Raises:
        ValueError: if an argument is none of these.
    """

    def __init__(
        self,
        *,
        loss_weighting: str | dict[str, Any] | LossWeighting | None = None,
        normalize_to: Literal["mean"] | None = None,
        max_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.loss_weighting = _loss_weighting(loss_weighting)
        if normalize_to not in (None, "mean"):
            raise ValueError(
                "`normalize_to` must be 'mean' or None. "
                f"Received: normalize_to={normalize_to!r}."
            )
        if max_norm is not None and not max_norm > 0.0:
            raise ValueError(
                f"`max_norm` must be positive or None. Received: max_norm={max_norm}."
            )
        self.normalize_to = normalize_to
        self.max_norm = max_norm

    def named_variables(self) -> dict[str, keras.Variable]:
        """All state by name, that of the loss weighting included."""
        nested = self.loss_weighting.named_variables() if self.loss_weighting else {}
        named = {f"loss_weighting-{name}": v for name, v in nested.items()}
        return {**super().named_variables(), **named}

    @property
    def step_variables(self) -> list[keras.Variable]:
        """The state that a step which is undone must put back."""
        nested = self.loss_weighting.step_variables if self.loss_weighting else []
        return [*super().step_variables, *nested]

    @property
    def observes_update(self) -> bool:
        """Whether the loss weighting wants to see the losses after the update."""
        return self.loss_weighting is not None and self.loss_weighting.observes_update

    def fallbacks(self) -> tf.Tensor:
        """Number of steps that took the mean, those of the loss weighting included."""
        nested = self.loss_weighting
        return super().fallbacks() + (0 if nested is None else nested.fallbacks())

    @property
    def needs_losses(self) -> bool:
        """Whether the method or its loss weighting reads the values of the losses."""
        nested = self.loss_weighting
        return self.uses_losses or (nested is not None and nested.uses_losses)

    def loss_weights(
        self, losses: tf.Tensor, present: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Factors that the loss weighting gives, see `Aggregator`."""
        if self.loss_weighting is None:
            return tf.ones_like(losses)
        return self.loss_weighting.weights(losses, present)

    def updated_losses(self, evaluate: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Losses for `observe`, see `Aggregator`."""
        if self.loss_weighting is None:
            return evaluate()
        return self.loss_weighting.updated_losses(evaluate)

    def observe(self, losses: tf.Tensor, present: tf.Tensor | None = None) -> None:
        """Tells the loss weighting what the update did, see `Aggregator`."""
        if self.loss_weighting is not None:
            self.loss_weighting.observe(losses, present)

    def end_epoch(self) -> None:
        """Tells the loss weighting that an epoch is over."""
        if self.loss_weighting is not None:
            self.loss_weighting.end_epoch()

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        nested = self.loss_weighting
        return {
            **super().get_config(),
            "loss_weighting": nested and keras.saving.serialize_keras_object(nested),
            "normalize_to": self.normalize_to,
            "max_norm": self.max_norm,
        }

    def _build_options(self, num_tasks: int) -> None:
        super()._build_options(num_tasks)
        if self.loss_weighting is not None:
            self.loss_weighting.build(num_tasks)

    def _normalizing(self, squared_norm: tf.Tensor, of_mean: tf.Tensor) -> tf.Tensor:
        """Factor that `normalize_to` asks for, from squared norms, float64 scalars."""
        if self.normalize_to is None:
            return tf.ones([], tf.float64)
        return tf.sqrt(tf.math.divide_no_nan(of_mean, squared_norm))

    def _limiting(self, squared_norm: tf.Tensor) -> tf.Tensor:
        """Factor that `max_norm` asks for."""
        if self.max_norm is None:
            return tf.ones([], tf.float64)
        limit = tf.constant(self.max_norm, tf.float64)
        return limit / tf.maximum(tf.sqrt(squared_norm), limit)


def _loss_weighting(
    identifier: str | dict[str, Any] | LossWeighting | None,
) -> LossWeighting | None:
    if identifier is None:
        return None
    weighting = get(identifier)
    if not isinstance(weighting, LossWeighting):
        raise ValueError(
            "`loss_weighting` must be a method of kind 'loss', see "
            "`aggregators.names(kind='loss')`. Received: "
            f"{type(weighting).__name__}."
        )
    return weighting
