"""A table of all methods, read off their classes."""

import dataclasses
from typing import Literal

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.registry import get, get_class, names
from tf_mtl.aggregators.row_aggregator import RowAggregator
from tf_mtl.docstrings import citation, summary

# Sizes that stand for themselves: no method has state of such a size of its own.
_TASKS, _PARAMETERS = 7, 1009

_COSTS = {
    "loss": "nothing",
    "gramian": "T - 1 backward passes of the trunk; none on the representation",
    "rows": "T - 1 backward passes of the trunk, and work on each entry",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One method.

    Attributes:
        name: registered name.
        kind: `"loss"`, `"gramian"` or `"rows"`.
        summary: first line of its docstring.
        state: what it keeps between steps, with sizes.
        cost: what a step takes beyond one backward pass.
        reference: where it comes from, empty if it needs no source.
    """

    name: str
    kind: str
    summary: str
    state: str
    cost: str
    reference: str


def entries(kind: Literal["loss", "gramian", "rows"] | None = None) -> list[Entry]:
    """All registered methods, or those of one kind, in alphabetical order."""
    return [_entry(name) for name in names(kind)]


def table(kind: Literal["loss", "gramian", "rows"] | None = None) -> str:
    """The methods as text, two lines each."""
    found = entries(kind)
    width = max(len(entry.name) for entry in found)
    lines = []
    for entry in found:
        lines.append(f"{entry.name:{width}}  {entry.kind:7}  {entry.summary}")
        indent = " " * (width + 11)
        lines.append(f"{indent}state: {entry.state}")
        lines.append(f"{indent}cost: {entry.cost}")
        if entry.reference:
            lines.append(f"{indent}{entry.reference}")
    if kind is None:
        lines.append("AdaTask is an optimizer: tf_mtl.optimizers.AdaTask.")
    return "\n".join(lines)


def _entry(name: str) -> Entry:
    cls = get_class(name)
    aggregator = get(name)
    aggregator.build(_TASKS)
    if isinstance(aggregator, RowAggregator):
        aggregator.build_rows([(_PARAMETERS,)])
    cost = _COSTS[cls.kind]
    if aggregator.observes_update:
        cost = "a forward pass in some steps"
    return Entry(
        name,
        cls.kind,
        summary(cls),
        _state(aggregator),
        cost,
        citation(cls),
    )


def _state(aggregator: Aggregator) -> str:
    found = [
        f"{variable.name} {_size(tuple(variable.shape))}".strip()
        for variable in aggregator.variables
        if variable.name != "fallback_count"
    ]
    return ", ".join(found) or "none"


def _size(shape: tuple[int, ...]) -> str:
    """A shape in letters."""
    known = {_TASKS: "T", _PARAMETERS: "P", _TASKS * _PARAMETERS: "T x P"}
    return " x ".join(known.get(size, str(size)) for size in shape)
