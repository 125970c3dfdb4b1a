"""MGDA: the shortest vector in the convex hull of the gradients."""

from typing import Any, Literal, get_args

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.positive import positive
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import min_norm_on_simplex, row_norms

Normalization = Literal["none", "l2", "loss", "loss+"]


@register("mgda")
class MGDA(GramianWeighting):
    """Takes the convex combination of the gradients that is shortest.

    The direction `d` has `d . g_t >= |d|^2` with every gradient, so that a small step
    lowers all losses; it is 0 where no direction does. The weights are computed from
    the rows `g_t / s_t`, and combine the rows as they are.

    With `surface="representation"` of a model this is MGDA-UB.

    A row of norm 0 is the shortest vector: a task that is done stops all others,
    unless `drop_zero_rows`. The task with the smallest gradient dominates the others.
    One task gets its plain gradient.

    Args:
        normalization: `s_t`. `"none"`: 1; `"l2"`: the norm of the row; `"loss"`: the
            loss; `"loss+"`: their product.
        drop_zero_rows: bool. Leaves out the rows of norm 0.
        **kwargs: see `GramianWeighting`.

    Raises:
        ValueError: if `normalization` is none of these.

    Reference:
        Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS
        2018, arXiv:1810.04650; Desideri, Multiple-gradient descent algorithm (MGDA)
        for multiobjective optimization, C. R. Math. 350, 2012. Solved to the precision
        of the numbers, where public code stops up to 27 % away.
    """

    def __init__(
        self,
        normalization: Normalization = "none",
        drop_zero_rows: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if normalization not in get_args(Normalization):
            raise ValueError(
                f"`normalization` must be one of {get_args(Normalization)}. "
                f"Received: normalization={normalization!r}."
            )
        self.normalization = normalization
        self.drop_zero_rows = drop_zero_rows
        self.uses_losses = normalization in ("loss", "loss+")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "normalization": self.normalization,
            "drop_zero_rows": self.drop_zero_rows,
        }

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        norms = row_norms(gramian)
        scales = tf.ones_like(norms)
        if self.normalization in ("l2", "loss+"):
            scales *= norms
        if self.normalization in ("loss", "loss+"):
            scales *= positive(losses)
        if self.drop_zero_rows:
            present &= norms > 0.0
        inverse = tf.math.divide_no_nan(1.0, scales)
        return min_norm_on_simplex(inverse[:, None] * gramian * inverse, present)
