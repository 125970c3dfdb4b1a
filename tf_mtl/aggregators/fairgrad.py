"""FairGrad: gains of the tasks as even as alpha asks for."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.reduction import reduced
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import fair_weights

# Outside of it the solver would need more steps than it takes.
_SMALLEST_ALPHA, _LARGEST_ALPHA = 0.5, 5.0


@register("fairgrad")
class FairGrad(GramianWeighting):
    """Maximises the alpha-fair utility of the gains of all tasks.

    The weights solve `g_t . d = w_t^(-1 / alpha)` for the direction `d`, so that no
    task loses. `alpha = 1` is Nash-MTL; the larger, the less may the gains differ, and
    the nearer is MGDA.

    Where no direction helps all tasks the weights are large and the direction is
    short. A row of norm 0 is left out. One task of norm `n` gets its gradient times
    `n^(-2 alpha / (1 + alpha))`.

    Args:
        alpha: float in `[0.5, 5]`.
        max_norm: positive float or None, see `GramianWeighting`.
        **kwargs: see `GramianWeighting`. A `preference` gives the units that gains are
            measured in: the shares times the number of tasks.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Ban and Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024,
        arXiv:2402.15638. Differs from public code: the equation is solved by Newton's
        method, where least squares are 10-60 % away for norms that are decades apart;
        and the direction is not multiplied by the number of tasks before it is
        limited.
    """

    uses_preference = True

    def __init__(
        self, alpha: float = 2.0, max_norm: float | None = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(max_norm=max_norm, **kwargs)
        self.alpha = float(alpha)
        if not _SMALLEST_ALPHA <= alpha <= _LARGEST_ALPHA:
            raise ValueError(
                f"`alpha` must be in [{_SMALLEST_ALPHA}, {_LARGEST_ALPHA}]. Received: "
                f"alpha={alpha}. The limits are equal weights, at 0, and MGDA."
            )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "alpha": self.alpha}

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        units = reduced("sum", self._shares(present))
        return fair_weights(gramian, self.alpha, tf.where(present, units, 1.0))
