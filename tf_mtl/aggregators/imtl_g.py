"""IMTL-G: a direction with equal projections on all gradients."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import solve_cosines

# Weights that nearly cancel would give a huge direction.
_LEAST_SUM = 1e-6


@register("imtl_g")
class IMTLG(GramianWeighting):
    """Weights the gradients so that the direction projects equally on all of them.

    With the cosines `C` and the norms `n` of the rows, `v = C^-1 1 / n` entry by entry
    and the weights are `v / |sum(v)|`. A weight may be negative.

    The sum of `v` may be negative when there are three tasks or more of unlike norms
    (in some percent of random cases). Divided by the sum itself, as in the paper, the
    projections are then equal and negative, and the step raises all losses.

    One task gets its plain gradient; a row of norm 0 or of an absent task is left out.
    Equal rows share a weight. Where equal projections are impossible, the vector with
    the nearest ones takes its place; for opposite rows it is 0.

    Args:
        guard: bool. Whether to divide by the size of the sum. False: by the sum, as
            the paper does, so that the weights sum to 1.
        **kwargs: see `GramianWeighting`.

    Reference:
        Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, OpenReview
        IMPnRXEWpvr (gradient balance). Differs: `guard`; the sum counts as at least
        1e-6 of the sum of sizes; solved in the cosines, which norms that are decades
        apart do not harm, where public code inverts differences of rows.
    """

    rounding = "rank"

    def __init__(self, guard: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.guard = guard

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "guard": self.guard}

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        values = solve_cosines(gramian, tf.ones_like(losses))
        total = tf.reduce_sum(values)
        size = tf.maximum(tf.abs(total), _LEAST_SUM * tf.reduce_sum(tf.abs(values)))
        if not self.guard:
            size = tf.where(total < 0.0, -size, size)
        return tf.math.divide_no_nan(values, size)
