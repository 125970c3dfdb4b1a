"""PCGrad+: balances gradient magnitudes, then projects with a margin."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.magnitudes import balancing_scales, check_share
from tf_mtl.aggregators.reduction import Reduction
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import row_norms
from tf_mtl.aggregators.visits import VisitingWeighting


@register("pcgrad_plus")
class PCGradPlus(VisitingWeighting):
    """PCGrad on balanced gradients, with a margin in each projection.

    1. Row `i` is scaled by `tau * max_j(n_j) / n_i + 1 - tau`, where `n` are the
       norms, as in GradCraft: 0 leaves the rows alone, 1 makes all norms equal.
    2. Each scaled row visits the scaled rows `h_j` of all tasks, its own included.
       Where `v . h_j < 0`, the row moves along `h_j` until that inner product is
       `eps |v| |h_j|`, with the norm of `v` before the move.
    3. The direction is the mean of the edited rows.

    One task gets its plain gradient; rows of norm 0 conflict with nothing. A visit to
    its own row does nothing unless earlier moves turned `v` against it.

    Args:
        tau: float in `[0, 1]`, share of the imbalance of norms to remove; the
            paper's tau.
        eps: float in `[0, 1)`, the margin; the paper's epsilon.
        reduction: `"mean"` (the paper) or `"sum"` over the present tasks.
        **kwargs: `order` and `seed`, see `VisitingWeighting`, and what
            `GramianWeighting` takes. A `preference` weights the edited rows.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Bai et al., GradCraft: Elevating Multi-task Recommendations through Holistic
        Gradient Crafting, KDD 2024, arXiv:2407.19682, the baseline PCGrad+. Differs
        from the official code, which adds the margin to every coordinate of `v`
        instead of moving along `h_j`: with a margin of 0.05 that turns the direction
        by half and more.
    """

    visits_itself = True

    def __init__(
        self,
        tau: float = 0.1,
        eps: float = 1e-10,
        reduction: Reduction = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        if not 0.0 <= eps < 1.0:
            raise ValueError(f"`eps` must be in [0, 1). Received: eps={eps}.")
        self.tau = check_share("tau", tau)
        self.eps = eps

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "tau": self.tau, "eps": self.eps}

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        norms = row_norms(gramian)
        scales = balancing_scales(norms, tf.reduce_max(norms), self.tau)
        scaled = scales[:, None] * gramian * scales[None, :]
        return scales * super()._weights(scaled, losses, present)

    def _move(self, cosines: tf.Tensor, visited: tf.Tensor) -> tf.Tensor:
        return tf.where(cosines < 0.0, self.eps - cosines, 0.0)
