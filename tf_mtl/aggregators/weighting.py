"""What loss and Gramian weightings share: weights that are smoothed and checked."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.moving_average import MovingAverage, check_decay


class Weighting(Aggregator):
    """An aggregator whose direction is a weighted sum of rows.

    Args:
        ema: float in `[0, 1)`, decay per step of a bias-corrected moving average of the
            weights; Zhou et al., On the Convergence of Stochastic Multi-Objective
            Gradient Manipulation and Beyond, NeurIPS 2022 (CR-MOGM). 0: no average.
        **kwargs: see `Aggregator`.
    """

    def __init__(self, *, ema: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ema = check_decay("ema", ema)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "ema": self.ema}

    def _build_options(self, num_tasks: int) -> None:
        super()._build_options(num_tasks)
        if self.ema > 0.0:
            shape = (num_tasks,)
            self._average = MovingAverage(self, "weights", self.ema, shape, 1)

    def _smoothed(self, weights: tf.Tensor) -> tf.Tensor:
        return self._average.update(weights) if self.ema > 0.0 else weights

    def _settled(
        self,
        hook: Callable[[], tf.Tensor],
        usable: tf.Tensor,
        present: tf.Tensor,
    ) -> tf.Tensor:
        """Runs `hook`, then sees to absent tasks and to results that are not finite."""

        def masked_hook() -> list[tf.Tensor]:
            return [tf.where(present, hook(), 0.0)]

        [weights], keep = self._guard(masked_hook, usable, present)
        nan = tf.constant(float("nan"), weights.dtype)
        fallback = tf.where(usable, self._shares(present), nan)
        weights = tf.where(keep, weights, fallback)
        return tf.where(present, weights, 0.0)
