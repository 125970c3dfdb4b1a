"""IMTL-L: learned scales that make all losses equal."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.task_adam import TaskAdam

# Without a limit a loss that goes to 0 would get an infinite weight.
_LIMIT = 10.0


@register("imtl_l")
class IMTLL(LossWeighting):
    """Learns a scale of each loss, such that all scaled losses become 1.

    The total is `sum_t(exp(s_t) l_t - s_t)` with the learned log scales `s`, 0 at the
    start. The weights are `exp(s)`; then `s` takes one step of Adam along
    `exp(s) l - 1`. Where the losses stand still, the weights end at `1 / l`: it is
    uncertainty weighting with the sign of `s` turned, times 2.

    `s` stays in `[-10, 10]`. Losses should be positive: for a negative one `s` has no
    optimum and ends at the limit. One task gets its plain gradient at first.

    Args:
        learning_rate: positive float, of the log scales.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if `learning_rate` is not positive.

    Reference:
        Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, OpenReview
        IMPnRXEWpvr (loss balance). Differs: `s` has an Adam of its own, where the
        paper gives it to the optimizer of the network; and it is limited.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "learning_rate": self.learning_rate}

    def _build(self, num_tasks: int) -> None:
        self._log_scales = self.add_variable("log_scales", (num_tasks,), task_axes=1)
        self._adam = TaskAdam(self, self.learning_rate, num_tasks)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        weights = tf.exp(self._log_scales.value)
        moved = self._log_scales + self._adam.update(weights * losses - 1.0)
        self._log_scales.assign(tf.clip_by_value(moved, -_LIMIT, _LIMIT))
        return weights
