"""Loss weightings that look at the gap of each loss to the least it can be."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting


class GapWeighting(LossWeighting):
    """A loss weighting with a known least value of each loss.

    Args:
        min_losses: sequence of `num_tasks` finite floats, in the order of the tasks.
            None: 0 for each.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an entry is not finite; in `build` if there is not one for each
            task.
    """

    def __init__(
        self, *, min_losses: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if min_losses is not None:
            min_losses = [float(loss) for loss in min_losses]
            if not all(math.isfinite(loss) for loss in min_losses):
                raise ValueError(
                    f"`min_losses` must be finite. Received: min_losses={min_losses}."
                )
        self.min_losses = min_losses

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "min_losses": self.min_losses}

    def _check_num_tasks(self, num_tasks: int) -> None:
        if self.min_losses is not None and len(self.min_losses) != num_tasks:
            raise ValueError(
                f"`min_losses` must hold one float for each of {num_tasks} tasks. "
                f"Received: min_losses={self.min_losses}."
            )

    def _gaps(self, losses: tf.Tensor) -> tf.Tensor:
        """Losses minus their least values, float64 `(num_tasks,)`."""
        if self.min_losses is None:
            return losses
        return losses - tf.constant(self.min_losses, tf.float64)
