"""DualProj: the mean gradient, freed of all conflicts."""

import tensorflow as tf

from tf_mtl.aggregators.dual_cone import DualConeWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import min_norm_above


@register("dualproj")
class DualProj(DualConeWeighting):
    """Projects the mean gradient onto the vectors without conflict.

    The direction has an inner product of at least 0 with every row, up to the ridge.
    Without conflicts it is the plain mean. A row of norm 0 conflicts with nothing. One
    task gets its plain gradient.

    Args:
        ridge: see `DualConeWeighting`.
        ridge_scale: see `DualConeWeighting`.
        **kwargs: see `GramianWeighting`. A `preference` makes it a weighted mean.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS
        2017, arXiv:1706.08840. Differs: the tasks of the batch take the place of
        remembered ones, and gradients below a fixed norm are projected too.
    """

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        lower = self._shares(present)[None, :]
        return min_norm_above(self._regularized(gramian), lower)[0]
