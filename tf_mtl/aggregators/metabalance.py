"""MetaBalance: balances gradient magnitudes variable by variable."""

from collections.abc import Sequence
from typing import Any, cast

import tensorflow as tf

from tf_mtl.aggregators.magnitudes import balancing_scales, check_share
from tf_mtl.aggregators.moving_average import MovingAverage, check_decay
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.row_aggregator import Ids, RowAggregator
from tf_mtl.aggregators.row_sums import row_norms
from tf_mtl.aggregators.rows import weighted_sum


@register("metabalance")
class MetaBalance(RowAggregator):
    """Brings the gradients of all tasks near the magnitude of a target task's.

    In each shared variable on its own, with `m_t` a moving average of the norm of the
    rows of task `t` there and `s` the target, the direction is

        sum_t (relax m_s / m_t + 1 - relax) g_t

    One task gets its plain gradient, and a row of norm 0 adds nothing. An absent task
    keeps its averages; an absent target still sets the magnitude. A variable in which
    the target never had a gradient gets the plain sum. Of an embedding table the rows
    of ids in the batch count.

    Args:
        relax: float in `[0, 1]`, share of the imbalance to remove; the paper's r.
        beta: float in `[0, 1)`, decay of the averages; the paper's beta.
        target: int, index of the target task.
        **kwargs: see `RowAggregator`.

    Raises:
        ValueError: if an argument is outside its range; in `build` if there is no task
            `target`.

    Reference:
        He et al., MetaBalance: Improving Multi-Task Recommendations via Adapting
        Gradient Magnitudes of Auxiliary Tasks, WWW 2022, arXiv:2203.06801, strategy
        C. Differs from the official code: norms of 0 give no NaN, `relax=1` and
        tables are allowed, and the averages are bias-corrected for each task, which
        only shows after a task was absent.
    """

    def __init__(
        self, relax: float = 0.7, beta: float = 0.9, target: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if target < 0:
            raise ValueError(
                f"`target` must be the index of a task. Received: target={target}."
            )
        self.relax = check_share("relax", relax)
        self.beta = check_decay("beta", beta)
        self.target = int(target)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "relax": self.relax,
            "beta": self.beta,
            "target": self.target,
        }

    def _check_num_tasks(self, num_tasks: int) -> None:
        if self.target >= num_tasks:
            raise ValueError(
                f"`target` must be the index of one of {num_tasks} tasks. "
                f"Received: target={self.target}."
            )

    def _build_rows(self, shapes: Sequence[tuple[int, ...]]) -> None:
        shape = (cast(int, self.num_tasks), len(shapes))
        self._norms = MovingAverage(self, "norms", self.beta, shape, task_axes=1)

    def _combine(
        self,
        blocks: list[tf.Tensor],
        ids: Ids,
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> list[tf.Tensor]:
        norms = tf.stack([row_norms([block]) for block in blocks], axis=1)
        before = self._norms.value
        norms = tf.where(present[:, None], self._norms.update(norms), before)
        target = norms[self.target]
        scales = balancing_scales(norms, target, self.relax)
        scales = tf.where(target > 0.0, scales, 1.0)
        return [
            weighted_sum(block, weights, present)
            for block, weights in zip(blocks, tf.unstack(scales, axis=1), strict=True)
        ]
