"""What is measured: a method, a surface and options."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tf_mtl import aggregators
from tf_mtl.models.training import SURFACES
from tf_mtl.names import unknown_name_error
from tf_mtl.option_text import read_option, split


@dataclasses.dataclass(frozen=True)
class Method:
    """An aggregator as a benchmark uses it.

    Attributes:
        name: registered name.
        surface: `"parameters"` or `"representation"`, see `compile` of the models.
        options: constructor arguments.
    """

    name: str
    surface: str = "parameters"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of the aggregator."""
        return aggregators.get_class(self.name).kind

    @property
    def label(self) -> str:
        """What tables call it."""
        is_loss = self.kind == "loss"
        parts = [self.name] if is_loss else [self.name, self.surface]
        return ", ".join([*parts, *(f"{k}={v}" for k, v in self.options.items())])

    def make(self) -> aggregators.Aggregator:
        """A fresh aggregator."""
        return aggregators.get(self.name, **self.options)


def parse_methods(items: Sequence[str]) -> list[Method]:
    """Reads methods as they are written on the command line.

    Args:
        items: each `name`, `name:surface` or `name:surface:option=value`, or `all`:
            every registered method, on all surfaces that it works on.

    Returns:
        list of `Method`.

    Raises:
        ValueError: if a name, a surface or an option is unknown.
    """
    methods: list[Method] = []
    for item in items:
        if item == "all":
            found = _every_method()
        else:
            name, *rest = split(item, ":")
            surface, *options = rest or ["parameters"]
            found = [Method(name, surface, dict(map(read_option, options)))]
        methods += [method for method in found if method not in methods]
    for method in methods:  # A wrong one fails before anything is measured.
        if method.surface not in SURFACES:
            raise unknown_name_error("surface", method.surface, SURFACES)
        method.make()
    return methods


def _every_method() -> list[Method]:
    exact = [Method(name) for name in aggregators.names()]
    cheap = [Method(name, "representation") for name in aggregators.names("gramian")]
    return [*exact, *cheap]
