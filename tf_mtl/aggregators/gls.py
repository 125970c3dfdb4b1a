"""GLS: the geometric mean of the losses."""

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.positive import positive
from tf_mtl.aggregators.registry import register


@register("gls")
class GeometricLoss(LossWeighting):
    """Minimises the geometric mean of the losses.

    The total is `exp(sum_t(p_t log l_t))` with the shares `p`, `1 / num_tasks` unless
    there is a preference, so the weights are `p_t total / l_t`: all weighted losses
    are equal. It is computed from logarithms, as the product of many losses would
    leave the range of floats. One task gets its plain gradient.

    A loss below 1e-8 counts as 1e-8. Losses must not be negative: such a step takes
    the mean, see `fallback_count`.

    Args:
        **kwargs: see `LossWeighting`. A `preference` gives the shares.

    Reference:
        Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric
        Loss Strategy for Multi-Task Learning, CVPR Workshops 2019, arXiv:1904.08492.
    """

    uses_preference = True

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        losses = positive(losses)
        shares = self._shares(present)
        total = tf.exp(tf.reduce_sum(shares * tf.math.log(losses)))
        return shares * total / losses
