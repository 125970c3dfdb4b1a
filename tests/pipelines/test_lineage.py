import contextlib

import pytest

from pipelines import lineage
from pipelines.runners import local
from pipelines.store import Store

from .toys import make_pipeline


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs: the third changes the words, so that it reads those of the first."""
    folder = tmp_path_factory.mktemp("toy")
    for text in ("some words", "some words", "many more words"):
        (folder / "in.txt").write_text(text)
        local.run(make_pipeline(folder), folder / "root", report=lambda line: None)
    with contextlib.closing(Store(folder / "root")) as store:
        yield store


def test_runs_are_listed(store):
    lines = lineage.describe(store).splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["1", "2", "3"]
    assert all(line.endswith("toy  complete") for line in lines[:3])


def test_artifacts_are_listed_with_what_they_were_made_from(store):
    text = lineage.describe(store, 2)
    assert text.count("(from run 1)") == 4
    [made] = [line for line in text.splitlines() if "writes verdict" in line]
    [read] = [line for line in text.splitlines() if "reads  verdict" in line]
    assert made.split(": ")[1] == read.split(": ")[1]


def test_what_an_earlier_run_made_is_listed(store):
    [line] = [x for x in lineage.describe(store).splitlines() if "before" in x]
    assert line.split(": ")[1] in lineage.describe(store, 1)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_picture_is_drawn(store, tmp_path, suffix):
    path = tmp_path / f"lineage.{suffix}"
    lineage.draw(store, path)
    assert path.stat().st_size > 1000
    if suffix == "svg":
        text = path.read_text()
        # Text of an SVG is drawn as shapes, with a comment of what it says.
        assert text.count("<!-- Upper") == 2  # Of this run, and of the first.


def test_unknown_run_is_an_error(store):
    with pytest.raises(ValueError, match=r"run=9, known: \[1, 2, 3\]"):
        lineage.describe(store, 9)
