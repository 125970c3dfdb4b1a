"""PCGrad: projects conflicting gradients onto each other's normal planes."""

import tensorflow as tf

from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.visits import VisitingWeighting


@register("pcgrad")
class PCGrad(VisitingWeighting):
    """Removes from each gradient its conflicts with the others, one by one.

    Each task starts from its own row and visits the other tasks. Where the inner
    product with a visited *original* row is negative, that component is removed:
    `v -= min(v . g_j, 0) / |g_j|^2 g_j`. The direction is the sum of the edited
    rows. For two tasks the order of the visits does not matter. One task gets its
    plain gradient; rows of norm 0 conflict with nothing.

    Args:
        reduction: `"sum"` (the paper) or `"mean"` over the present tasks.
        order: see `VisitingWeighting`; the paper draws it at random. A task skips
            itself.
        seed: see `VisitingWeighting`.
        **kwargs: see `GramianWeighting`. A `preference` weights the edited rows.

    Raises:
        ValueError: see `VisitingWeighting`.

    Reference:
        Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020,
        arXiv:2001.06782, algorithm 1. Differs from the authors' code, which throws
        the shuffled order away and also visits the task itself.
    """

    def _move(self, cosines: tf.Tensor, visited: tf.Tensor) -> tf.Tensor:
        return -tf.minimum(cosines, 0.0)
