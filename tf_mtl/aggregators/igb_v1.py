"""IGBv1: weights from the gap of each loss to its base loss."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.base_losses import BaseLosses, check_epoch
from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.positive import positive
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.softmax import scaled_softmax


@register("igb_v1")
class IGBv1(LossWeighting):
    """Gives more weight to tasks that have improved least.

    The total is `sum_t(w_t log l_t)`, so the weights are `w_t / l_t`, with
    `w = T softmax(l / (temperature B))` over the `T` present tasks. The base losses
    `B` are the mean losses of one early epoch; until then `w = 1`. `w` is a constant:
    no gradient flows through it.

    A task without known label in that epoch gets its base loss from the next epoch
    that has one, and its `l / B` is 1 until then. A loss below 1e-8 counts as 1e-8.
    Losses must not be negative: such a step takes the mean, see `fallback_count`. One
    task gets its gradient over its loss.

    Epochs end by `end_epoch`, which `fit` calls.

    Args:
        base_epoch: int, at least 0. Index of the epoch whose mean losses are the base
            losses.
        temperature: positive float. Large values even `w` out.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Dai, Fei, Lu, Improvable Gap Balancing for Multi-Task Learning, UAI 2023,
        PMLR 216:496-506, arXiv:2307.15429 (IGBv1). The official code has no
        temperature (1), and nothing for absent tasks.
    """

    def __init__(
        self, base_epoch: int = 1, temperature: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.base_epoch = check_epoch("base_epoch", base_epoch)
        self.temperature = check_positive("temperature", temperature)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "base_epoch": self.base_epoch,
            "temperature": self.temperature,
        }

    def end_epoch(self) -> None:
        """Makes the mean losses of the epoch the base losses if it is the one."""
        self._base.end_epoch()

    def _build(self, num_tasks: int) -> None:
        self._base = BaseLosses(self, num_tasks, self.base_epoch)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        self._base.update(losses)
        gaps = self._base.relative(losses) / self.temperature
        return scaled_softmax(gaps, present) / positive(losses)
