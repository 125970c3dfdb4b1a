"""Version folders are numbered, complete or absent, and never shared."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tf_mtl import export
from tf_mtl.export import versions
from tf_mtl.export.versions import publish

KILLED = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("versions", sys.argv[1])
versions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(versions)
def write(folder):
    (folder / "half").write_text("written")
    os.kill(os.getpid(), signal.SIGKILL)
versions.publish(sys.argv[2], write)
"""


def write(folder):
    (folder / "model").write_text("complete")


def names(folder):
    return sorted(os.listdir(folder))


def test_first_version_is_one_in_a_new_folder(tmp_path):
    path = tmp_path / "models" / "feed"
    assert publish(path, write) == str(path / "1")
    assert names(path) == ["1"]
    assert names(path / "1") == ["model"]


def test_next_version_follows_the_largest(tmp_path):
    for name in ("2", "0010", "notes", ".tmp-x", "-30", "1e3", "40.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "50").write_text("a file is no version")
    assert export.latest(tmp_path) == str(tmp_path / "0010")
    assert publish(tmp_path, write) == str(tmp_path / "11")
    assert export.latest(str(tmp_path)) == str(tmp_path / "11")


def test_version_may_be_given(tmp_path):
    assert publish(tmp_path, write, version=20261122) == str(tmp_path / "20261122")


def test_there_is_no_version_after_the_largest(tmp_path):
    publish(tmp_path, write, version=2**63 - 1)
    with pytest.raises(ValueError, match="`version` must be a positive integer"):
        publish(tmp_path, write)
    assert [each.name for each in tmp_path.iterdir()] == [str(2**63 - 1)]


def test_version_that_exists_is_refused(tmp_path):
    (tmp_path / "003").mkdir()
    with pytest.raises(FileExistsError, match=r"`version` must be free.*version=3"):
        publish(tmp_path, write, version=3)
    assert names(tmp_path) == ["003"]


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", True, 2**63])
def test_version_must_be_a_positive_integer(tmp_path, version):
    with pytest.raises(ValueError, match="`version` must be a positive integer"):
        publish(tmp_path, write, version)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_file_is_no_folder_of_versions(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="`path` must be a folder"):
        publish(tmp_path / name, write)


def test_url_is_refused():
    with pytest.raises(ValueError, match="Save locally, then copy"):
        publish("gs://bucket/models", write)


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_latest_needs_a_version(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="`path` must hold a version folder"):
        export.latest(tmp_path / name)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path, error):
    def fail(folder):
        write(folder)
        raise error

    with pytest.raises(error):
        publish(tmp_path, fail)
    assert names(tmp_path) == []


def test_killed_process_leaves_no_version(tmp_path):
    command = [sys.executable, "-c", KILLED, versions.__file__, str(tmp_path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".")
    with pytest.raises(FileNotFoundError):
        export.latest(tmp_path)
    assert publish(tmp_path, write) == str(tmp_path / "1")
    assert names(tmp_path) == [leftover, "1"]


def test_old_leftovers_are_removed(tmp_path):
    for name, time in ((".tmp-old", 0), (".other", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time, time))
    (tmp_path / ".tmp-young").mkdir()
    publish(tmp_path, write)
    assert names(tmp_path) == [".other", ".tmp-young", "1"]


def run_together(count, version, path):
    """Publishes from many threads that all write before any of them is renamed."""
    barrier = threading.Barrier(count)

    def write_together(folder):
        write(folder)
        barrier.wait()

    def run(_):
        try:
            return publish(path, write_together, version)
        except FileExistsError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_saves_at_the_same_time_get_different_numbers(tmp_path):
    found = run_together(8, None, tmp_path)
    assert sorted(found) == [str(tmp_path / str(i)) for i in range(1, 9)]
    assert names(tmp_path) == [str(i) for i in range(1, 9)]
    assert all(names(folder) == ["model"] for folder in found)


def test_only_one_of_two_saves_gets_a_given_number(tmp_path):
    found = run_together(2, 5, tmp_path)
    assert found.count(str(tmp_path / "5")) == 1
    assert sum(isinstance(item, FileExistsError) for item in found) == 1
    assert names(tmp_path) == ["5"]


def test_rename_failure_is_not_taken_for_a_taken_number(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("read-only")

    monkeypatch.setattr(versions.os, "rename", refuse)
    with pytest.raises(PermissionError, match="read-only"):
        publish(tmp_path, write)
    assert names(tmp_path) == []
