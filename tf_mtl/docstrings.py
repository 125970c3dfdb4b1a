"""What tables of methods and architectures read off docstrings."""

import inspect
import re


def summary(cls: type) -> str:
    """First line of the docstring of a class."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def citation(cls: type) -> str:
    """First sentence of the section *Reference* of a class; empty without one."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Reference:\n")
    text = " ".join(section.split())
    # A full stop ends the sentence, but not after the names of authors.
    sentence = re.split(r"(?<!et al)\.(?= |$)", text)[0]
    return sentence and f"{sentence}."
