"""Fields of dataclasses of options, with the help text that the command line shows."""

import dataclasses
from typing import Any


def option(default: Any, text: str) -> Any:
    """A field of a dataclass.

    Args:
        default: its default: of a type that cannot change, or an empty dict, of which
            each instance gets its own.
        text: what the command line says about it.

    Returns:
        What `dataclasses.field` gives, with `help` in its metadata.
    """
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata={"help": text})
    return dataclasses.field(default=default, metadata={"help": text})
