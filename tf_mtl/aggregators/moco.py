"""MoCo: tracks the gradients, then steps towards the shortest mixture of them."""

from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tf_mtl.aggregators.checks import check_not_negative
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.row_sums import row_gramian, row_norms
from tf_mtl.aggregators.row_tracking import RowTracking, Tracked
from tf_mtl.aggregators.rows import per_task, weighted_sum
from tf_mtl.aggregators.softmax import present_softmax
from tf_mtl.aggregators.solvers import project_to_simplex

Projection = Literal["simplex", "softmax"]


@register("moco")
class MoCo(RowTracking):
    """Mixes gradients that are tracked over steps, so that noise has averaged out.

    In step `k = 1, 2, ...`, with tracked rows `Y` from 0, rows `h` of the batch and
    mixture weights `w` from equal ones,

        y_t <- y_t + beta / k^beta_decay (h_t - y_t)
        w   <- P(w - gamma / k^gamma_decay (Y Y^T + rho I) w)

    and the direction is `sum_t w_t y_t`. `P` projects onto the weights that are not
    negative and sum to 1; the weights thus follow those of MGDA. The tracked rows have
    no bias correction: the first step is `beta` times a plain one.

    The tracked rows take as much memory as `num_tasks` copies of the shared variables.
    Of an embedding table only the rows of ids in the batch are tracked and take part
    in the inner products; those of other ids keep their value.

    `gamma` acts on products of gradients, so the method depends on their scale. One
    task gets its tracked row. A row of norm 0 is tracked as it is. An absent task keeps
    its tracked row and weight, and the others share out what it leaves.

    Args:
        beta: float in `(0, 1]`, how fast the tracked rows follow; the paper's beta.
        gamma: float, at least 0, how fast the weights follow; the paper's gamma. 0
            leaves them equal.
        beta_decay: float, at least 0: `beta` falls with this power of the step.
        gamma_decay: float, at least 0: `gamma` falls with this power of the step.
        rho: float, at least 0, pulls the weights together; the paper's rho.
        projection: `"simplex"`, the nearest such weights (the paper), or `"softmax"` of
            them (public code), which keeps the weights nearly equal for ever.
        normalize_rows: bool. Whether `h_t` is the gradient as it is (False, the paper)
            or scaled such that its norm is the loss (True, public code).
        **kwargs: see `RowAggregator`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Fernando et al., Mitigating Gradient Bias in Multi-objective Learning: A
        Provably Convergent Stochastic Approach, ICLR 2023, arXiv:2210.12624. Differs:
        tracked rows of tables are lazy.
    """

    tracked = ("gradient",)

    def __init__(
        self,
        beta: float = 0.5,
        gamma: float = 0.1,
        beta_decay: float = 0.5,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        projection: Projection = "simplex",
        normalize_rows: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0.0 < beta <= 1.0:
            raise ValueError(f"`beta` must be in (0, 1]. Received: beta={beta}.")
        if projection not in get_args(Projection):
            raise ValueError(
                f"`projection` must be one of {get_args(Projection)}. "
                f"Received: projection={projection!r}."
            )
        self.beta = float(beta)
        self.gamma = check_not_negative("gamma", gamma)
        self.beta_decay = check_not_negative("beta_decay", beta_decay)
        self.gamma_decay = check_not_negative("gamma_decay", gamma_decay)
        self.rho = check_not_negative("rho", rho)
        self.projection = projection
        self.normalize_rows = normalize_rows

    @property
    def uses_losses(self) -> bool:  # type: ignore[override]
        """Whether the rows are scaled to norms of the losses."""
        return self.normalize_rows

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "beta": self.beta,
            "gamma": self.gamma,
            "beta_decay": self.beta_decay,
            "gamma_decay": self.gamma_decay,
            "rho": self.rho,
            "projection": self.projection,
            "normalize_rows": self.normalize_rows,
        }

    def _build(self, num_tasks: int) -> None:
        self._steps = self.add_variable("steps")
        equal = keras.initializers.Constant(1.0 / num_tasks)
        self._task_weights = self.add_variable(
            "task_weights", (num_tasks,), initializer=equal, task_axes=1
        )

    def _track(
        self,
        blocks: list[tf.Tensor],
        tracked: list[Tracked],
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[Tracked]]:
        self._steps.assign(self._steps + 1.0)
        beta = self.beta / tf.pow(self._steps.value, self.beta_decay)
        if self.normalize_rows:
            factors = tf.math.divide_no_nan(losses, row_norms(blocks))
            blocks = [block * per_task(factors, block) for block in blocks]
        new = [
            values["gradient"]
            + tf.cast(beta, block.dtype) * (block - values["gradient"])
            for values, block in zip(tracked, blocks, strict=True)
        ]
        weights = self._next_weights(row_gramian(new), present)
        directions = [weighted_sum(rows, weights, present) for rows in new]
        return directions, [{"gradient": rows} for rows in new]

    def _next_weights(self, gramian: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        weights = self._present_weights(present)
        slope = tf.linalg.matvec(gramian, weights) + self.rho * weights
        gamma = self.gamma / tf.pow(self._steps.value, self.gamma_decay)
        moved = weights - gamma * slope
        if self.projection == "softmax":
            weights = present_softmax(moved, present)
        else:
            # A common shift changes nothing, but large values would swallow the 1.
            moved -= tf.reduce_max(tf.where(present, moved, moved.dtype.min))
            weights = project_to_simplex(moved, present)
        self._task_weights.assign(weights)
        return weights

    def _present_weights(self, present: tf.Tensor) -> tf.Tensor:
        """The weights so far, shared out over present tasks."""
        weights = tf.where(present, self._task_weights.value, 0.0)
        total = tf.reduce_sum(weights)
        return tf.where(total > 0.0, weights / total, self._shares(present))
