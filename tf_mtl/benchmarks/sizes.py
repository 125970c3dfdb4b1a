"""Sizes of the model that a benchmark measures. Imports nothing heavy."""

import dataclasses
from typing import Any

from tf_mtl.options import option


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a model with experts.

    The fields are also the options of the commands that measure it.

    Args:
        num_features: int. Features with ids, each with a table of its own.
        embedding_dim: int. Length of the vectors in each table.
        num_experts: int.
        expert_units: tuple of ints, widths of the layers of an expert.
        tower_units: tuple of ints, widths of the hidden layers of a tower. It may be
            empty.

    Raises:
        ValueError: if a size is not an int of at least 1, or an expert has no layers.
    """

    num_features: int = option(20, "Features with ids, each with a table of its own.")
    embedding_dim: int = option(16, "Length of the vectors in each table.")
    num_experts: int = option(4, "Experts, of architectures that have them.")
    expert_units: tuple[int, ...] = option(
        (128, 64), "Widths of the layers of an expert, or of the shared part."
    )
    tower_units: tuple[int, ...] = option(
        (64,), "Widths of the hidden layers of a tower."
    )

    def __post_init__(self) -> None:
        for name in ("num_features", "embedding_dim", "num_experts"):
            value = getattr(self, name)
            if not _is_count(value):
                raise ValueError(
                    f"`{name}` must be an int, at least 1. Received: {name}={value!r}. "
                    f"Leave it out for {getattr(Sizes, name)}."
                )
        for name in ("expert_units", "tower_units"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(map(_is_count, value)):
                raise ValueError(
                    f"`{name}` must be a tuple of ints, each at least 1. Received: "
                    f"{name}={value!r}. Give one width for each layer, such as 128,64."
                )
        if not self.expert_units:
            raise ValueError(
                "`expert_units` must have a layer. Received: expert_units=(). Give one "
                "width for each layer, such as 128,64."
            )

    def __str__(self) -> str:
        """As in `20 features x 16, 4 experts 128-64, towers 64`."""
        experts, towers = (
            "-".join(map(str, units)) for units in (self.expert_units, self.tower_units)
        )
        return (
            f"{self.num_features} features x {self.embedding_dim}, "
            f"{self.num_experts} experts {experts}, towers {towers or 'of no layers'}"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
