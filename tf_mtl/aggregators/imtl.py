"""IMTL: balances losses by learned scales, then gradients by their projections."""

from typing import Any

from tf_mtl.aggregators.imtl_g import IMTLG
from tf_mtl.aggregators.loss_weighting import LossWeighting
from tf_mtl.aggregators.registry import register


@register("imtl")
class IMTL(IMTLG):
    """IMTL-G on the gradients of losses that IMTL-L has scaled.

    The towers get the gradients of the scaled losses, without the weights of IMTL-G,
    and the learned scales see the losses only. Since IMTL-G ignores positive scales of
    the rows up to the length of its direction, the scales mostly act on the towers.

    One task gets the gradient of its scaled loss. Rows of norm 0 and absent tasks are
    as in `IMTLG` and `IMTLL`.

    Args:
        guard: see `IMTLG`.
        loss_weighting: see `GradientAggregator`; `"imtl_l"` or a configured `IMTLL`.
        **kwargs: see `GramianWeighting`.

    Raises:
        ValueError: if an argument is none of these.

    Reference:
        Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, OpenReview
        IMPnRXEWpvr (hybrid balance). Differs as `IMTLG` and `IMTLL` do.
    """

    def __init__(
        self,
        guard: bool = True,
        loss_weighting: str | dict[str, Any] | LossWeighting = "imtl_l",
        **kwargs: Any,
    ) -> None:
        super().__init__(guard=guard, loss_weighting=loss_weighting, **kwargs)
