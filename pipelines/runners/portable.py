"""Components as text, to be executed in another process."""

import importlib
import json
import typing

from pipelines import fingerprints
from pipelines.definition import Component


def dump(component: Component, with_content: bool) -> str:
    """Writes down all that the execution of a component depends on, but its inputs.

    Args:
        component: the component. Its class must be importable.
        with_content: bool. Whether the text changes when the content of the component's
            files does, so that a cache that compares texts notices.

    Returns:
        JSON text.
    """
    kind = type(component)
    content = fingerprints.of_files(component.files) if with_content else None
    return json.dumps(
        {
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "name": component.name,
            "parameters": component.parameters,
            "files": component.files,
            "content": content,
        }
    )


def load(text: str) -> Component:
    """Makes the component of `dump`, without inputs, for `execute`."""
    saved = json.loads(text)
    module, _, name = saved["class"].partition(":")
    kind = typing.cast(type[Component], getattr(importlib.import_module(module), name))
    component = kind.__new__(kind)
    Component.__init__(
        component, saved["name"], {}, saved["parameters"], saved["files"]
    )
    return component
