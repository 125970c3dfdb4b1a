"""Aligned-MTL: makes the gradients orthogonal and of one length."""

from typing import Any, Literal, get_args

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.reduction import Reduction, check_reduction, reduced
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import is_positive, symmetric_eigen

ScaleMode = Literal["min", "median", "rmse"]


@register("aligned_mtl")
class AlignedMTL(GramianWeighting):
    """Replaces the gradients by the closest orthogonal ones of a common length.

    With the eigen-decomposition `G = V L V^T` of the Gramian and the shares `p` of
    the tasks, the weights are `sqrt(l) V L^(-1/2) V^T p`, over the eigenvalues that
    are not 0. So all singular values of the aligned rows are `sqrt(l)`, and the
    direction does not depend on the conflicts or the norms of the rows.

    One task gets its plain gradient, a row of norm 0 the weight 0, and rows that are
    all 0 the weights `p`. With `"min"` the step is as short as the smallest singular
    value: it collapses when two tasks are nearly parallel. An eigenvalue that is just
    above the precision of the numbers shrinks the direction to nothing, and is dropped
    just below it.

    Args:
        scale_mode: which eigenvalue `l` is: the smallest that is not 0 (`"min"`, the
            paper), the lower median (`"median"`) or the mean (`"rmse"`) of those.
        reduction: `"mean"`: `p` are shares of 1. `"sum"` (the official code): of the
            number of present tasks.
        **kwargs: see `GramianWeighting`. A `preference` gives the shares.

    Raises:
        ValueError: if an argument is none of these.

    Reference:
        Senushkin et al., Independent Component Alignment for Multi-Task Learning,
        CVPR 2023, arXiv:2305.19000. Differs from the official code: rows are dependent
        if their cosines are to the precision of the gradients. As there, an eigenvalue
        is also dropped below about 1e-14 of the largest: that of a row 1e7 times
        shorter than another.
    """

    uses_preference = True
    rounding = "rank"

    def __init__(
        self,
        scale_mode: ScaleMode = "min",
        reduction: Reduction = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if scale_mode not in get_args(ScaleMode):
            raise ValueError(
                f"`scale_mode` must be one of {get_args(ScaleMode)}. "
                f"Received: scale_mode={scale_mode!r}."
            )
        self.scale_mode = scale_mode
        self.reduction = check_reduction(reduction)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "scale_mode": self.scale_mode,
            "reduction": self.reduction,
        }

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        shares = reduced(self.reduction, self._shares(present))
        values, vectors = symmetric_eigen(gramian)
        is_kept = is_positive(values)
        rank = tf.math.count_nonzero(is_kept, dtype=tf.int32)
        scale = self._scale(tf.where(is_kept, values, 0.0), rank)
        gains = tf.where(is_kept, tf.sqrt(scale / values), 0.0)
        coordinates = tf.linalg.matvec(vectors, shares, transpose_a=True)
        weights = tf.linalg.matvec(vectors, gains * coordinates)
        return tf.where(rank > 0, weights, shares)

    def _scale(self, values: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
        """The eigenvalue that all get, of `rank` positive ones and else zeros."""
        if self.scale_mode == "rmse":
            return tf.reduce_sum(values) / tf.cast(tf.maximum(rank, 1), values.dtype)
        place = 0 if self.scale_mode == "min" else tf.maximum(rank - 1, 0) // 2
        last = values.shape[0] - 1
        # Not `values[...]`: XLA would compile the step anew for each place.
        place = tf.minimum(values.shape[0] - rank + place, last)
        return tf.gather(tf.sort(values), place)
