"""Fields of dataclasses of options, with the help text that the command line shows."""

import dataclasses
from typing import Any


def option(default: Any, text: str) -> Any:
    """A field of a dataclass.

    Args:
        default: its default, of a type that cannot change.
        text: what the command line says about it.

    Returns:
        What `dataclasses.field` gives, with `help` in its metadata.
    """
    return dataclasses.field(default=default, metadata={"help": text})
