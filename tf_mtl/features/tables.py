"""Sizes of embedding tables, and a table of all features for people."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tf_mtl.features.feature import Feature

_HEADER = ("feature", "kind", "column", "output", "table", "ids x dim", "personal")


class Table(NamedTuple):
    """Size of an embedding table.

    Args:
        num_ids: int. Rows, id 0 included.
        embedding_dim: int. Width of the vectors.
    """

    num_ids: int
    embedding_dim: int


def describe(features: Sequence[Feature], tables: Mapping[str, Table]) -> str:
    """Lists features for people.

    Args:
        features: features, in order.
        tables: embedding tables by name.

    Returns:
        Text of one line for each feature below a header, in aligned columns.
    """
    lines = [_HEADER, *(_line(feature, tables) for feature in features)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _line(feature: Feature, tables: Mapping[str, Table]) -> tuple[str, ...]:
    shape = feature.inputs()[feature.name].shape[1:]
    table = tables.get(feature.state_name)
    return (
        feature.name,
        type(feature).__name__,
        feature.column_name,
        f"[{', '.join(['batch', *map(str, shape)])}]",
        feature.state_name if table else "",
        f"{table.num_ids} x {table.embedding_dim}" if table else "",
        "yes" if feature.personal else "",
    )
