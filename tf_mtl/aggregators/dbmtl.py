"""DB-MTL: balances losses by a logarithm and gradients by their norms."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_not_negative, check_positive
from tf_mtl.aggregators.moving_average import check_decay
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.row_sums import row_norms
from tf_mtl.aggregators.row_tracking import RowTracking, Tracked
from tf_mtl.aggregators.rows import as_float, weighted_sum


@register("dbmtl")
class DBMTL(RowTracking):
    """Gives the averaged gradients of the log losses one common norm, the largest.

    1. The losses `l` are replaced by their logarithms, so row `t` becomes
       `h_t = g_t / (l_t + eps)`, and so do the gradients of the towers.
    2. The rows are averaged over steps, `a_t <- beta_k a_t + (1 - beta_k) h_t` from 0,
       with `beta_k = beta / k^beta_decay` in step `k = 1, 2, ...`. The average has no
       bias correction: the first step is `1 - beta` times a plain one.
    3. The direction is `max_s |a_s| sum_t a_t / (|a_t| + eps)`.

    The averages take as much memory as `num_tasks` copies of the shared variables;
    with `beta=0` there are none. Of an embedding table only the rows of ids in the
    batch are averaged and take part in the norms; those of other ids keep their value.

    One task gets its averaged row, a row of norm 0 adds nothing, and an absent task
    keeps its average and adds nothing. Losses must not be negative: an update with a
    negative loss is skipped.

    Args:
        beta: float in `[0, 1)`, decay of the averages; the paper's beta.
        beta_decay: float, at least 0: the decay falls with this power of the step. The
            paper uses 0 and 0.5.
        log_loss: bool. Whether to do step 1. False: `h_t = g_t`.
        eps: positive float, the paper's epsilon. It is absolute, so it limits the
            gain of gradients of norms below it.
        **kwargs: see `RowAggregator`. Factors of a `loss_weighting` come on top of
            those of step 1.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Lin et al., Dual-Balancing for Multi-Task Learning, Neural Networks 2025,
        arXiv:2308.12029. Differs: averages of tables are lazy. The baseline of the
        GradCraft paper under this name is `log_loss=False, beta=0`.
    """

    uses_losses = True

    def __init__(
        self,
        beta: float = 0.9,
        beta_decay: float = 0.0,
        log_loss: bool = True,
        eps: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.beta = check_decay("beta", beta)
        self.beta_decay = check_not_negative("beta_decay", beta_decay)
        self.log_loss = log_loss
        self.eps = check_positive("eps", eps)
        self.tracked = ("average",) if self.beta > 0.0 else ()

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "beta": self.beta,
            "beta_decay": self.beta_decay,
            "log_loss": self.log_loss,
            "eps": self.eps,
        }

    def loss_weights(
        self, losses: tf.Tensor, present: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Derivatives of the log losses, times the factors of the loss weighting."""
        losses = as_float(losses)
        factors = super().loss_weights(losses, present)
        if not self.log_loss:
            return factors
        nan = tf.constant(float("nan"), losses.dtype)
        return factors / tf.where(losses < 0.0, nan, losses + self.eps)

    def _build(self, num_tasks: int) -> None:
        self._steps = self.add_variable("steps")

    def _track(
        self,
        blocks: list[tf.Tensor],
        tracked: list[Tracked],
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[Tracked]]:
        if self.beta > 0.0:
            decay = self._next_decay()
            blocks = [
                block + tf.cast(decay, block.dtype) * (values["average"] - block)
                for values, block in zip(tracked, blocks, strict=True)
            ]
            tracked = [{"average": block} for block in blocks]
        norms = row_norms(blocks)
        largest = tf.reduce_max(tf.where(present, norms, 0.0))
        weights = largest / (norms + self.eps)
        return [weighted_sum(block, weights, present) for block in blocks], tracked

    def _next_decay(self) -> tf.Tensor:
        self._steps.assign(self._steps + 1.0)
        return self.beta / tf.pow(self._steps.value, self.beta_decay)
