"""UPGrad: the mean of gradients that are each freed of all conflicts."""

import tensorflow as tf

from tf_mtl.aggregators.dual_cone import DualConeWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import min_norm_above


@register("upgrad")
class UPGrad(DualConeWeighting):
    """Projects each gradient onto the vectors without conflict, and takes the mean.

    The direction has an inner product of at least 0 with every row, up to the ridge.
    Without conflicts it is the plain mean. A row of norm 0 conflicts with nothing. One
    task gets its plain gradient.

    Args:
        ridge: see `DualConeWeighting`.
        ridge_scale: see `DualConeWeighting`.
        **kwargs: see `GramianWeighting`. A `preference` weights the projected rows.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Quinton and Rey, Jacobian Descent for Multi-Objective Optimization,
        arXiv:2406.16232. Differs from public code: gradients below a fixed norm are
        projected too, where that takes their plain mean.
    """

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        lower = tf.linalg.diag(self._shares(present))
        return tf.reduce_sum(min_norm_above(self._regularized(gramian), lower), axis=0)
