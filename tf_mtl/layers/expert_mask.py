"""Which experts a gate has, where gates computed together differ in that."""

from collections.abc import Sequence

import numpy as np

# For each gate and expert, whether the gate has the expert.
ExpertMask = tuple[tuple[bool, ...], ...]


def checked_mask(
    mask: Sequence[Sequence[bool]] | None, num_gates: int, num_experts: int
) -> ExpertMask | None:
    """The mask as a layer keeps it.

    Args:
        mask: bools of shape `(num_gates, num_experts)`. None: every gate has all.
        num_gates: int.
        num_experts: int.

    Returns:
        nested tuples of bool; None where every gate has all experts.

    Raises:
        ValueError: if the shape is another, or a gate has no expert.
    """
    if mask is None:
        return None
    found = np.asarray(mask, bool)
    if found.shape != (num_gates, num_experts) or not found.any(axis=-1).all():
        raise ValueError(
            "`mask` must hold a row for each gate, with a bool for each expert and at "
            f"least one True. Received: mask={mask} for {num_gates} gates and "
            f"{num_experts} experts."
        )
    return None if found.all() else tuple(map(tuple, found.tolist()))
