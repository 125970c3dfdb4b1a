"""Tables as the commands print them."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lines of aligned columns; floats with four decimals, `None` as `-`.

    Args:
        header: names of the columns.
        rows: cells by row.

    Returns:
        The lines, joined.
    """
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per task.

    Args:
        metrics: what `metrics.evaluate_predictions` returns.

    Returns:
        The lines, joined.
    """
    names = list(dict.fromkeys(name for found in metrics.values() for name in found))
    rows = [
        [task, *(found.get(name) for name in names)] for task, found in metrics.items()
    ]
    return table(["task", *names], rows)


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)
