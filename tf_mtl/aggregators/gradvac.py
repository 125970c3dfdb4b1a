"""GradVac: brings the cosines of gradients up to their usual values."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.reduction import Reduction
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.visits import VisitingWeighting

# A target of 1 would ask for an infinite move.
_LARGEST_TARGET = 1.0 - 1e-6


@register("gradvac")
class GradVac(VisitingWeighting):
    """Moves gradients together where they agree less than they usually do.

    Each task starts from its own row `v` and visits the other tasks. With `c` the
    cosine of `v` with the visited *original* row `g_j` and `t` the target of the pair,

        v += |v| (t sqrt(1 - c^2) - c sqrt(1 - t^2)) / (|g_j| sqrt(1 - t^2)) g_j

    where `c < t`, which makes the new cosine `t`. The target is a moving average of
    `c`, whether or not it was below: `t <- (1 - beta) t + beta c`, from 0. The
    direction is the sum of the edited rows.

    The first step is that of PCGrad. One task gets its plain gradient; pairs with a
    row of norm 0 are skipped, and keep their target, as do pairs with an absent task.

    Args:
        beta: float in `(0, 1]`, how fast the targets follow; the paper's beta.
        reduction: `"sum"` (the paper) or `"mean"` over the present tasks.
        **kwargs: `order` and `seed`, see `VisitingWeighting`, and what
            `GramianWeighting` takes. A `preference` weights the edited rows.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Wang et al., Gradient Vaccine: Investigating and Improving Multi-task
        Optimization in Massively Multilingual Models, ICLR 2021, arXiv:2010.05874.
        Differs: all shared variables are one row, where the paper also keeps targets
        by layer; targets are clipped to 1 - 1e-6. Some public code updates a target
        only when it corrects, so that targets can only become negative.
    """

    def __init__(
        self, beta: float = 0.01, reduction: Reduction = "sum", **kwargs: Any
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        if not 0.0 < beta <= 1.0:
            raise ValueError(f"`beta` must be in (0, 1]. Received: beta={beta}.")
        self.beta = float(beta)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "beta": self.beta}

    def _build(self, num_tasks: int) -> None:
        super()._build(num_tasks)
        self._targets = self.add_variable(
            "cosine_targets", (num_tasks, num_tasks), task_axes=2
        )

    def _move(self, cosines: tf.Tensor, visited: tf.Tensor) -> tf.Tensor:
        targets = tf.gather(self._targets.value, visited, axis=1, batch_dims=1)
        targets = tf.clip_by_value(targets, -_LARGEST_TARGET, _LARGEST_TARGET)
        sines = tf.sqrt(1.0 - tf.square(cosines))
        move = targets * sines / tf.sqrt(1.0 - tf.square(targets)) - cosines
        return tf.where(cosines < targets, move, 0.0)

    def _learn(self, cosines: tf.Tensor) -> None:
        targets = self._targets.value
        new = (1.0 - self.beta) * targets + self.beta * cosines
        self._targets.assign(tf.where(tf.math.is_nan(cosines), targets, new))
