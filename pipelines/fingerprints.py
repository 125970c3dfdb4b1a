"""Fingerprints: short names of the content of files, folders, code and values."""

import ast
import functools
import glob
import hashlib
import importlib.metadata
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

# Of these packages the source counts, of the libraries their version.
_PACKAGES = ("pipelines", "tf_mtl")
_LIBRARIES = (
    "apache-beam",
    "keras",
    "tensorflow",
    "tensorflow-metadata",
    "tensorflow-model-analysis",
    "tensorflow-transform",
    "tfx-bsl",
)
_LENGTH = 16


def of_value(value: Any) -> str:
    """Fingerprint of a value that `json` can write; the order of keys does not count.

    Returns:
        16 hexadecimal digits, as of all functions here.
    """
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def of_folder(folder: pathlib.Path) -> str:
    """Fingerprint of all files below a folder: their relative paths and bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return of_value({str(path.relative_to(folder)): _digest(path) for path in paths})


def of_files(patterns: Sequence[str]) -> str:
    """Fingerprint of the files that match, and of the code that Python files import.

    Args:
        patterns: glob patterns.

    Raises:
        FileNotFoundError: if a pattern matches nothing.
    """
    content = []
    for pattern in patterns:
        paths = sorted(glob.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"No file matches {pattern!r}, which is read here.")
        for path in map(pathlib.Path, paths):
            is_code = path.suffix == ".py"
            content.append((path.name, of_code(path) if is_code else _digest(path)))
    return of_value(content)


def of_code(path: pathlib.Path) -> str:
    """Fingerprint of a source file, of all that it imports of this project.

    Imports within functions count too. The versions of the libraries that the results
    depend on are part of it.

    Args:
        path: source file.
    """
    digests: dict[str, str] = {}
    pending = [path.resolve()]
    while pending:
        source = pending.pop()
        if str(source) not in digests:
            digests[str(source)] = _digest(source)
            pending.extend(_imported(source))
    return of_value([sorted(digests.values()), _versions()])


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _imported(source: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Source files of this project that a source file imports."""
    tree = ast.parse(source.read_bytes())
    names = [name for node in ast.walk(tree) for name in _names(node)]
    return tuple(path for path in map(_find, names) if path is not None)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            # A module of a package, else something of the package itself.
            name = f"{node.module}.{alias.name}"
            yield name if _find(name) else node.module


@functools.cache
def _find(name: str) -> pathlib.Path | None:
    """The file of a module, found without importing what is above it."""
    package, *rest = name.split(".")
    if package not in _PACKAGES:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = pathlib.Path(spec.origin).parent.joinpath(*rest)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found
