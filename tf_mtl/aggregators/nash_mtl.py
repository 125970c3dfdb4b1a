"""Nash-MTL: the direction that tasks agree on when they bargain."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.reduction import reduced
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import fair_weights


@register("nash_mtl")
class NashMTL(GramianWeighting):
    """Maximises the product of the gains of all tasks.

    The weights solve `w_t g_t . d = 1` for the direction `d`, so that no task loses.
    The direction does not depend on the norms of the gradients, and neither does its
    length: it is the root of the number of tasks, or `max_norm` if that is less. A
    learning rate does not carry over from other methods, unless `normalize_to`.

    Where no direction helps all tasks the weights are large and the direction is
    short. A row of norm 0 is left out. One task gets its gradient over its norm.

    The authors also weight the losses of the towers; here towers get the plain
    gradient of their task.

    Args:
        max_norm: positive float or None, see `GramianWeighting`.
        **kwargs: see `GramianWeighting`; `update_every` is an option of the authors. A
            `preference` gives bargaining powers: `w_t g_t . d` is then the share of
            the task times the number of tasks.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022,
        arXiv:2202.01017. Differs from public code, which solves a sequence of convex
        approximations from the weights of the step before, and goes on with these
        (at first: ones) when a solver fails. Here the equation itself is solved, and
        no state is needed.
    """

    uses_preference = True

    def __init__(self, max_norm: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(max_norm=max_norm, **kwargs)

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        powers = reduced("sum", self._shares(present))
        return fair_weights(gramian, targets=tf.where(present, powers, 1.0))
