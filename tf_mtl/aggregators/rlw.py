"""RLW: random weights of the losses."""

import tensorflow as tf

from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.random_weights import RandomWeights
from tf_mtl.aggregators.registry import register


@register("rlw")
class RandomLossWeighting(RandomWeights, LossWeighting):
    """Weights the losses at random: a baseline that is hard to beat.

    The weights of a step are `softmax(z)` over the present tasks, with `z` standard
    normal, drawn anew in each step. They sum to 1, and each has the mean
    `1 / num_tasks`, so the expected direction is the mean of the rows. One task gets
    its plain gradient.

    Args:
        seed: int, seed of the normals. None: drawn now, and kept in the config.
        **kwargs: see `LossWeighting`.

    Reference:
        Lin et al., Reasonable Effectiveness of Random Weighting: A Litmus Test for
        Multi-Task Learning, TMLR 2022, arXiv:2111.10603 (RLW with normal weights).
        Some public code multiplies the weights by the number of tasks.
    """

    uses_losses = False

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return self._random_weights(present)
