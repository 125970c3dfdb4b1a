"""Files that are either whole or not there, and folders of versions."""

import contextlib
import functools
import json
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

MAX_VERSION = 2**63 - 1
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path`, and renames it to `path` at the end.

    When the body raises, the temporary file is removed and `path` stays as it was.

    Args:
        path: the file; replaced if it exists. Its folder is made if need be.

    Yields:
        The path to write to. It keeps the suffix of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file in one step, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes what `json` can write in one step, see `replacing`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def version_folders(path: pathlib.Path) -> dict[int, pathlib.Path]:
    """Folders that are named by a number, as TensorFlow Serving reads them.

    A number beyond int64 is none: protocols cannot say it. It is logged once.

    Args:
        path: folder of a model.

    Returns:
        dict of number to folder; empty where `path` is no folder.
    """
    if not path.is_dir():
        return {}
    found = {
        int(entry.name): entry
        for entry in path.iterdir()
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
    }
    for number in [n for n in found if n > MAX_VERSION]:
        _log_ignored(found.pop(number))
    return found


@functools.cache
def _log_ignored(folder: pathlib.Path) -> None:
    _logger.warning("%s is no version: its number is above %d.", folder, MAX_VERSION)
