"""ConFIG: a direction with equal cosines to all gradients."""

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import solve_cosines


@register("config")
class ConFIG(GramianWeighting):
    """Steps along the direction that has equal cosines to all gradients.

    With unit rows `u_t`, the direction is that of the vector `x` in the span of the
    rows with `u_t . x` equal for all of them, and its length the sum of the
    projections of the rows on it: `sum_t(g_t . x) x / |x|^2`. It lowers all losses.

    One task gets its plain gradient; a row of norm 0 or of an absent task is left out.
    For dependent rows equal cosines may be impossible: then `x` is the least-squares
    solution, and opposite rows give 0.

    Args:
        **kwargs: see `GramianWeighting`. With a `preference` the cosines are
            proportional to it.

    Reference:
        Liu et al., ConFIG: Towards Conflict-free Training of Physics Informed Neural
        Networks, ICLR 2025, arXiv:2408.11104. Differs: solved in the Gramian.
    """

    uses_preference = True
    rounding = "rank"

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        weights = solve_cosines(gramian, self._shares(present))
        products = tf.linalg.matvec(gramian, weights)
        squared_norm = tf.reduce_sum(weights * products)
        length = tf.math.divide_no_nan(tf.reduce_sum(products), squared_norm)
        return weights * length
