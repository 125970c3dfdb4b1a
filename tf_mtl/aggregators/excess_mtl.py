"""ExcessMTL: weights the tasks by how far they are from their best."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.row_sums import task_sums
from tf_mtl.aggregators.row_tracking import RowTracking, Tracked
from tf_mtl.aggregators.rows import weighted_sum
from tf_mtl.aggregators.softmax import scaled_softmax


@register("excess_mtl")
class ExcessMTL(RowTracking):
    """Raises the weights of tasks with a large excess risk.

    The excess of a task, how much of its loss training can still remove, is estimated
    from its row and its running sums of squares:
    `S_t <- S_t + g_t^2`, `e_t = sum(g_t^2 / sqrt(S_t + eps))` over all entries. The
    weights follow by multiplication, `w_t ~ w_t exp(step_size e_t / e_t(0))`, and sum
    to the number of present tasks. The first step of a task stores its `e_t(0)` and
    leaves its weight alone. All weights are 1 at the start.

    The sums take as much memory as `num_tasks` copies of the shared variables. Of an
    embedding table only the rows of ids in the batch are summed and take part in the
    excess; those of other ids keep their value.

    One task gets its plain gradient. A row of norm 0 has no excess: a task that has had
    no other row yet waits with `e_t(0)`. An absent task keeps its state.

    Args:
        step_size: positive float, how fast the weights follow; the paper's eta.
        eps: positive float. It keeps entries with tiny gradients out of the excess;
            it is absolute, so much smaller gradients ask for a smaller one.
        **kwargs: see `RowAggregator`.

    Raises:
        ValueError: if an argument is not positive.

    Reference:
        He et al., Robust Multi-Task Learning with Excess Risks, ICML 2024,
        arXiv:2402.02009. Differs: weights are kept as logits, which do not overflow;
        sums of tables are lazy; towers get their plain gradient, where the official
        code weights their losses too. Another public code uses the excess of the first
        step unscaled.
    """

    tracked = ("squares",)

    def __init__(
        self, step_size: float = 1e-2, eps: float = 1e-7, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.step_size = check_positive("step_size", step_size)
        self.eps = check_positive("eps", eps)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "step_size": self.step_size, "eps": self.eps}

    def _build(self, num_tasks: int) -> None:
        self._logits = self.add_variable("logits", (num_tasks,), task_axes=1)
        self._first = self.add_variable("first_excess", (num_tasks,), task_axes=1)

    def _track(
        self,
        blocks: list[tf.Tensor],
        tracked: list[Tracked],
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[Tracked]]:
        squares = [tf.square(block) for block in blocks]
        sums = [
            values["squares"] + square
            for values, square in zip(tracked, squares, strict=True)
        ]
        excess = task_sums(
            [
                square / tf.sqrt(total + self.eps)
                for square, total in zip(squares, sums, strict=True)
            ]
        )
        weights = scaled_softmax(self._next_logits(excess), present)
        directions = [weighted_sum(block, weights, present) for block in blocks]
        return directions, [{"squares": total} for total in sums]

    def _next_logits(self, excess: tf.Tensor) -> tf.Tensor:
        growth = self.step_size * tf.math.divide_no_nan(excess, self._first.value)
        self._logits.assign(self._logits + growth)
        self._first.assign(tf.where(self._first > 0.0, self._first.value, excess))
        return self._logits.value
