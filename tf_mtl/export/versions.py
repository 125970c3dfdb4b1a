"""Version folders: numbered, and complete as soon as they have a number."""

import contextlib
import errno
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable

from tf_mtl.files import MAX_VERSION, version_folders

# TensorFlow Serving reads numbered folders only, so it never sees these.
_TEMPORARY = ".tmp-"
_LEFTOVER_SECONDS = 24 * 60 * 60


def latest(path: str | os.PathLike[str]) -> str:
    """The newest version below a folder: the one with the largest number.

    Args:
        path: string or path. Folder of version folders, such as `save` fills.

    Returns:
        string. Path of the version folder.

    Raises:
        FileNotFoundError: if there is no version.
    """
    found = version_folders(pathlib.Path(path))
    if not found:
        raise FileNotFoundError(
            "`path` must hold a version folder, named by a number. "
            f"Received: path={os.fspath(path)!r}. `tf_mtl.export.save` writes one."
        )
    return str(found[max(found)])


def find_saved_model(path: str | os.PathLike[str]) -> pathlib.Path:
    """Finds the SavedModel that is meant by a folder.

    Args:
        path: folder of a run, folder of versions (the highest is taken), or folder
            of one version.

    Returns:
        The folder that holds `saved_model.pb`.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = pathlib.Path(path).expanduser()
    if (folder / "saved_model.pb").is_file():
        return folder
    for parent in (folder / "saved_model", folder):
        found = {
            number: each
            for number, each in version_folders(parent).items()
            if (each / "saved_model.pb").is_file()
        }
        if found:
            return found[max(found)]
    raise FileNotFoundError(
        "`path` must be the folder of a run or of a SavedModel. Received: "
        f"{os.fspath(folder)!r}, without `saved_model.pb`. If a run was stopped there, "
        "finish it with `tf-mtl train --resume`."
    )


def publish(
    path: str | os.PathLike[str],
    write: Callable[[pathlib.Path], None],
    version: int | None = None,
) -> str:
    """Writes a version folder that nobody sees before it is complete.

    The folder is written under a temporary name beside its final one and then renamed,
    which is one atomic step. If `write` fails, nothing is left; a process that is
    killed leaves a temporary folder, which a call on a later day removes. Calls at the
    same time get different numbers.

    Args:
        path: string or path. Local folder of the versions, made if it is absent.
        write: function that puts files into the empty folder it is given.
        version: positive int, at most 2^63 - 1: the number. None takes the one after
            the largest.

    Returns:
        string. Path of the version folder.

    Raises:
        ValueError: if `version` is no positive int64, or `path` is a URL.
        NotADirectoryError: if `path` is a file.
        FileExistsError: if `version` exists.
    """
    _check_version(version)
    parent = _make_parent(path)
    if version in version_folders(parent):
        raise _version_exists(parent, version)
    _remove_leftovers(parent)
    temporary = parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        write(temporary)
        return str(_rename(temporary, parent, version))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_version(version: int | None) -> None:
    if version is None:
        return
    is_integer = isinstance(version, int) and not isinstance(version, bool)
    if not is_integer or not 1 <= version <= MAX_VERSION:
        raise ValueError(
            "`version` must be a positive integer of at most 2^63 - 1, or None for the "
            f"next free one. Received: version={version!r}."
        )


def _make_parent(path: str | os.PathLike[str]) -> pathlib.Path:
    if "://" in os.fspath(path):
        raise ValueError(
            "`path` must be a local folder: remote stores cannot rename a folder in "
            f"one step. Received: path={os.fspath(path)!r}. Save locally, then copy "
            "the version folder."
        )
    parent = pathlib.Path(path)
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            "`path` must be a folder of versions, or not exist yet. Received: "
            f"path={os.fspath(path)!r}, which is, or lies below, a file."
        ) from error
    return parent


def _remove_leftovers(parent: pathlib.Path) -> None:
    # A young one may belong to a save that is under way.
    oldest = time.time() - _LEFTOVER_SECONDS
    for folder in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _rename(
    temporary: pathlib.Path, parent: pathlib.Path, version: int | None
) -> pathlib.Path:
    while True:
        number = version or max(version_folders(parent), default=0) + 1
        _check_version(number)
        target = parent / str(number)
        try:
            os.rename(temporary, target)
        except OSError as error:
            # Another save took the number in the meantime.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if version is not None:
                raise _version_exists(parent, version) from error
        else:
            return target


def _version_exists(parent: pathlib.Path, version: int | None) -> FileExistsError:
    return FileExistsError(
        f"`version` must be free. Received: version={version}, which exists in "
        f"{str(parent)!r}. Pass version=None for the next free number."
    )
