"""STCH: smooth maximum of the losses."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import tensorflow as tf

from tf_mtl.aggregators.base_losses import BaseLosses, check_epoch
from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.gap_weighting import GapWeighting
from tf_mtl.aggregators.positive import positive
from tf_mtl.aggregators.reduction import reduced
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.softmax import present_softmax, scaled_softmax

Form = Literal["plain", "log_nadir"]


@register("stch")
class SmoothTchebycheff(GapWeighting):
    """Minimises a smooth maximum of the losses, so that the worst task comes first.

    With the shares `p`, `1 / T` for each of `T` present tasks unless there is a
    preference, the total is

    - `"plain"`: `mu logsumexp(y / mu)` of `y = p (l - z)`, `z` the least losses. The
      weights are `p softmax(y / mu)`: losses of one scale are assumed.
    - `"log_nadir"`: `T mu logsumexp(y / mu)` of `y = T p log(l / nadir)`, which does
      not depend on the scale of a loss. The nadir is the mean losses of one epoch,
      after `warmup_epochs` epochs. Until then the total is `sum_t(T p_t log l_t)`.

    In `"log_nadir"` a task without known label in the epoch of the nadir gets its own
    from the next epoch that has one, and its `y` is 0 until then; a loss below 1e-8
    counts as 1e-8; and losses must not be negative: such a step takes the mean, see
    `fallback_count`. One task gets its plain gradient, over its loss in `"log_nadir"`.

    Args:
        form: `"plain"` or `"log_nadir"`. The second works by epochs, which end by
            `end_epoch`; `fit` calls it.
        mu: positive float, the paper's mu. Small values look at the worst task alone,
            large ones even the weights out.
        min_losses: sequence of `num_tasks` floats, the paper's ideal point z. None: 0
            for each. Only for `"plain"`.
        warmup_epochs: int, at least 0. Only looked at by `"log_nadir"`.
        **kwargs: see `LossWeighting`. A `preference` is the paper's lambda.

    Raises:
        ValueError: if an argument is outside its range, or `min_losses` comes with
            `"log_nadir"`.

    Reference:
        Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization,
        ICML 2024, arXiv:2402.19078. `"plain"` is the paper, `"log_nadir"` the official
        multi-task code, there with `mu=1` and without preference.
    """

    uses_preference = True

    def __init__(
        self,
        form: Form = "plain",
        mu: float = 0.1,
        min_losses: Sequence[float] | None = None,
        warmup_epochs: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_losses=min_losses, **kwargs)
        if form not in get_args(Form):
            raise ValueError(
                f"`form` must be 'plain' or 'log_nadir'. Received: form={form!r}."
            )
        if form == "log_nadir" and min_losses is not None:
            raise ValueError(
                "`min_losses` must be None with form='log_nadir', which takes "
                f"logarithms. Received: min_losses={min_losses}. Pass form='plain'."
            )
        self.form = form
        self.mu = check_positive("mu", mu)
        self.warmup_epochs = check_epoch("warmup_epochs", warmup_epochs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "form": self.form,
            "mu": self.mu,
            "warmup_epochs": self.warmup_epochs,
        }

    def end_epoch(self) -> None:
        """Makes the mean losses of the epoch the nadir if it is the one."""
        if self.form == "log_nadir":
            self._nadir.end_epoch()

    def _build(self, num_tasks: int) -> None:
        if self.form == "log_nadir":
            self._nadir = BaseLosses(self, num_tasks, self.warmup_epochs)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        shares = self._shares(present)
        if self.form == "plain":
            return shares * present_softmax(
                shares * self._gaps(losses) / self.mu, present
            )
        self._nadir.update(losses)
        losses = positive(losses)
        factors = reduced("sum", shares)
        scaled = factors * tf.math.log(self._nadir.relative(losses))
        return factors * scaled_softmax(scaled / self.mu, present) / losses
