"""GradCraft: balances gradient magnitudes, then frees each of all its conflicts."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.magnitudes import balancing_scales, check_share
from tf_mtl.aggregators.moving_average import MovingAverage, check_decay
from tf_mtl.aggregators.reduction import Reduction, check_reduction, reduced
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import cosines_and_norms

# Keeps the system of a conflict set with dependent rows solvable. It acts on
# cosines, so the scale of the gradients does not matter.
_RIDGE = 1e-10


@register("gradcraft")
class GradCraft(GramianWeighting):
    """Balances magnitudes, then removes all conflicts of a task at once.

    1. Row `i` is scaled by `tau * max_j(n_j) / n_i + 1 - tau`, where `n` are the
       norms: 0 leaves the rows alone, 1 makes all norms equal.
    2. Each scaled row `h_i` is moved within the span of its conflict set, the rows
       `h_j` with `h_i . h_j < 0`, so that its inner product with all of them is
       `eps |h_i| |h_j|`. With a tiny `eps` this is an orthogonal projection.
    3. The direction is the mean of the moved rows.

    A moved row may still conflict with rows outside its conflict set. One task gets
    its plain gradient; a row of norm 0 is in no conflict set.

    Args:
        tau: float in `[0, 1]`, share of the imbalance of norms to remove; the
            paper's tau.
        eps: float in `[0, 1)`, cosine to reach with the rows of the conflict set;
            the paper's epsilon.
        norm_ema: float in `[0, 1)`, decay of a moving average of the norms that step
            1 uses, per optimizer step; `b` of the official code. 0: no average.
        reduction: `"mean"` (the paper) or `"sum"` over the present tasks.
        **kwargs: see `GramianWeighting`. A `preference` weights the moved rows.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Bai et al., GradCraft: Elevating Multi-task Recommendations through Holistic
        Gradient Crafting, KDD 2024, arXiv:2407.19682. Differs from the official code:
        the systems get a ridge in unit-norm coordinates, where it inverts singular
        matrices: 1e-10, and 1e-6 for a Gramian of float32. And the moving average is
        bias-corrected for each task, which only shows after a task was absent.
    """

    uses_preference = True
    rounding = "ridge"

    def __init__(
        self,
        tau: float = 0.1,
        eps: float = 1e-10,
        norm_ema: float = 0.0,
        reduction: Reduction = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= eps < 1.0:
            raise ValueError(f"`eps` must be in [0, 1). Received: eps={eps}.")
        self.tau = check_share("tau", tau)
        self.eps = eps
        self.norm_ema = check_decay("norm_ema", norm_ema)
        self.reduction = check_reduction(reduction)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "tau": self.tau,
            "eps": self.eps,
            "norm_ema": self.norm_ema,
            "reduction": self.reduction,
        }

    def _build(self, num_tasks: int) -> None:
        if self.norm_ema > 0.0:
            shape = (num_tasks,)
            self._norms = MovingAverage(self, "norm", self.norm_ema, shape, 1)

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        cosines, norms = cosines_and_norms(gramian)
        scales = self._scales(norms, present)
        scaled_norms = scales * norms
        moves = self._moves(cosines)
        # Back from unit-norm coordinates to coefficients on the scaled rows.
        moves *= tf.math.divide_no_nan(scaled_norms[:, None], scaled_norms[None, :])
        factors = reduced(self.reduction, self._shares(present))
        return scales * (factors + tf.linalg.matvec(moves, factors, transpose_a=True))

    def _scales(self, norms: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Step 1: the factor of each row, float64 `(num_tasks,)`."""
        if self.norm_ema > 0.0:
            norms = self._norms.update(norms)
        largest = tf.reduce_max(tf.where(present, norms, 0.0))
        return balancing_scales(norms, largest, self.tau)

    def _moves(self, cosines: tf.Tensor) -> tf.Tensor:
        """Step 2: what each row adds of the others, in unit-norm coordinates.

        Args:
            cosines: float64 tensor of shape `(num_tasks, num_tasks)`.

        Returns:
            float64 tensor of shape `(num_tasks, num_tasks)`, row `i` not 0 only in
            the conflict set of task `i`.
        """
        in_set = tf.cast(cosines < 0.0, tf.float64)
        pairs_in_set = in_set[:, :, None] * in_set[:, None, :]
        # One system per task, all of full size: the rows outside the conflict set
        # are replaced by those of the identity and get the solution 0.
        systems = pairs_in_set * cosines + tf.linalg.diag(1.0 - in_set + _RIDGE)
        targets = in_set * (self.eps - cosines)
        return tf.linalg.solve(systems, targets[:, :, None])[:, :, 0]
