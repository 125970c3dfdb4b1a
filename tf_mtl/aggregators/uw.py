"""Uncertainty weighting: weights from a learned variance of each task."""

from typing import Any, Literal

import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.task_adam import TaskAdam

# Factor of the loss in the likelihood of each kind of task.
_STRENGTHS = {"regression": 0.5, "classification": 1.0}

# Without a limit a loss that goes to 0 would get an infinite weight.
_LIMIT = 10.0


@register("uw")
class UncertaintyWeighting(LossWeighting):
    """Learns a noise variance of each task and weights its loss by the precision.

    The total is `sum_t(a exp(-s_t) l_t + s_t / 2)` with the learned log variances
    `s`, 0 at the start, and `a = 1/2` (`"regression"`) or `a = 1`
    (`"classification"`). The weights are `a exp(-s)`; then `s` takes one step of
    Adam along `1/2 - a exp(-s) l`. Where the losses stand still, the weights end at
    `1 / (2 l)`.

    `s` stays in `[-10, 10]`. Losses should be positive: for a negative one `s` has no
    optimum and ends at the limit. One task gets its gradient times `a` at first.

    Args:
        form: `"regression"` or `"classification"`, the likelihood of the paper that
            all losses are read as.
        learning_rate: positive float, of the log variances.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an argument is none of these.

    Reference:
        Kendall, Gal, Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses
        for Scene Geometry and Semantics, CVPR 2018, arXiv:1705.07115. Its `sigma^2` is
        `exp(s)`. Differs: `s` has an Adam of its own, without weight decay, where the
        paper gives it to the optimizer of the network; and it is limited.
    """

    def __init__(
        self,
        form: Literal["regression", "classification"] = "regression",
        learning_rate: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if form not in _STRENGTHS:
            raise ValueError(
                f"`form` must be one of {list(_STRENGTHS)}. Received: form={form!r}."
            )
        self.form = form
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "form": self.form,
            "learning_rate": self.learning_rate,
        }

    def _build(self, num_tasks: int) -> None:
        self._log_variances = self.add_variable(
            "log_variances", (num_tasks,), task_axes=1
        )
        self._adam = TaskAdam(self, self.learning_rate, num_tasks)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        weights = _STRENGTHS[self.form] * tf.exp(-self._log_variances.value)
        moved = self._log_variances + self._adam.update(0.5 - weights * losses)
        self._log_variances.assign(tf.clip_by_value(moved, -_LIMIT, _LIMIT))
        return weights
