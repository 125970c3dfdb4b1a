"""RGW: random weights of the gradients."""

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.random_weights import RandomWeights
from tf_mtl.aggregators.registry import register


@register("rgw")
class RandomGradientWeighting(RandomWeights, GramianWeighting):
    """Weights the gradients of the shared variables at random.

    The weights are those of `RandomLossWeighting`, but the towers do not see them:
    each gets the plain gradient of its loss. The Gramian is not looked at, so this
    costs as much as any method that does, and tells what such a method adds to its
    random weights. One task gets its plain gradient.

    Args:
        seed: int, seed of the normals. None: drawn now, and kept in the config.
        **kwargs: see `GramianWeighting`.

    Reference:
        Lin et al., Reasonable Effectiveness of Random Weighting: A Litmus Test for
        Multi-Task Learning, TMLR 2022, arXiv:2111.10603 (RGW with normal weights).
    """

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        return self._random_weights(present)
