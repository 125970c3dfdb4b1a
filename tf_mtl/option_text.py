"""Names with options, as they are written on the command line."""

import ast
import contextlib
import json
from typing import Any


def split(text: str, separator: str) -> list[str]:
    """Parts of a text, cut where no bracket is open.

    Args:
        text: str.
        separator: one character.

    Returns:
        list of str, one part at least.

    Example:
        >>> split("mmoe:expert_units=[64, 32],ple", ",")
        ['mmoe:expert_units=[64, 32]', 'ple']
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def read_option(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`.

    Args:
        text: str. The value is JSON, a Python literal or a plain word.

    Returns:
        The name and the value.

    Raises:
        ValueError: if there is no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(
            f"Arguments must have the form name=value. Received: {text!r}."
        )
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return name.strip(), read(value)
    return name.strip(), value


def read_named(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of `name:option=value:option=value`.

    Args:
        text: str.

    Returns:
        The name and a dict of the options.

    Raises:
        ValueError: if an option has no value.

    Example:
        >>> read_named("drgrad:personal_gate=false")
        ('drgrad', {'personal_gate': False})
    """
    name, *options = split(text, ":")
    return name.strip(), dict(map(read_option, options))
