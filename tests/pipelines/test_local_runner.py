import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from pipelines.definition import Pipeline
from pipelines.runners import beam, local

from .toys import Judge, Source, Upper, make_pipeline

ALL = ("Source", "Upper", "Judge", "Sink")
REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in.txt").write_text("some words")
    return tmp_path


def run(folder, **options):
    return local.run(make_pipeline(folder, **options), folder / "root")


def test_components_run_in_order(folder):
    result = run(folder)
    assert result.executed == ALL
    assert result.reason is None
    assert (folder / "out.txt").read_text() == "SOME WORDS!"


def test_second_run_is_from_the_cache(folder):
    first, second = run(folder), run(folder)
    assert second.executed == ()
    assert second.cached == ALL
    assert second.outputs == first.outputs


def test_cache_can_be_left_alone(folder):
    run(folder)
    pipeline = make_pipeline(folder)
    assert local.run(pipeline, folder / "root", cache=False).executed == ALL


def test_changed_file_runs_what_depends_on_it(folder):
    run(folder)
    (folder / "in.txt").write_text("some more words")
    assert run(folder).executed == ALL


def test_changed_parameter_runs_what_is_below(folder):
    run(folder)
    assert run(folder, mark="?").cached == ("Source",)


def test_equal_output_ends_the_work(folder):
    run(folder)
    (folder / "in.txt").write_text("SOME words")
    assert run(folder).executed == ("Source", "Upper")


def test_damaged_artifact_is_made_again(folder):
    words = run(folder).outputs["Upper", "words"].path / "words.txt"
    words.write_text("damaged")
    result = run(folder)
    assert result.executed == ("Upper",)
    assert (folder / "out.txt").read_text() == "SOME WORDS!"


def test_what_was_removed_outside_is_made_again(folder):
    run(folder)
    (folder / "out.txt").unlink()
    assert run(folder).executed == ("Sink",)


def test_component_stops_the_pipeline(folder, capsys):
    run(folder)
    (folder / "in.txt").write_text("word")
    result = run(folder)
    assert result.reason == "Judge: the words got shorter"
    assert result.executed == ALL[:3]
    assert (folder / "out.txt").read_text() == "SOME WORDS!"
    assert "Stopped by Judge: the words got shorter" in capsys.readouterr().out


def test_stop_is_remembered_by_the_cache(folder):
    run(folder)
    (folder / "in.txt").write_text("word")
    assert run(folder).reason == run(folder).reason is not None


def test_what_was_stopped_is_never_the_previous_one(folder):
    first = run(folder).outputs["Upper", "words"].path
    (folder / "in.txt").write_text("word")
    run(folder)
    (folder / "in.txt").write_text("many more words")
    verdict = run(folder).outputs["Judge", "verdict"].path / "verdict.txt"
    assert verdict.read_text() == str(first)


def test_previous_is_that_of_the_newest_run_even_if_it_was_cached(folder):
    for text in ("aaa", "bbb", "aaa", "bbb"):
        (folder / "in.txt").write_text(text)
        last = run(folder)
    assert last.executed == ()
    (folder / "in.txt").write_text("ccc")
    verdict = run(folder).outputs["Judge", "verdict"].path / "verdict.txt"
    assert verdict.read_text() == str(last.outputs["Upper", "words"].path)


def test_previous_that_is_gone_is_skipped_with_a_note(folder, capsys):
    paths = []
    for text in ("aaa", "bbb"):
        (folder / "in.txt").write_text(text)
        paths.append(run(folder).outputs["Upper", "words"].path)
    shutil.rmtree(paths[1])
    (folder / "in.txt").write_text("ccc")
    verdict = run(folder).outputs["Judge", "verdict"].path / "verdict.txt"
    assert verdict.read_text() == str(paths[0])
    assert f"Upper: {str(paths[1])!r} is gone" in capsys.readouterr().out


def test_failure_names_the_component_and_leaves_nothing(folder):
    (folder / "in.txt").write_text("")
    with pytest.raises(ValueError, match="no words") as error:
        run(folder)
    assert "'Judge'" in error.value.__notes__[0]
    assert sorted(p.name for p in (folder / "root" / "executions").iterdir()) == [
        "1",
        "2",
    ]


def test_root_of_another_pipeline_is_refused(folder):
    run(folder)
    other = Pipeline("other", make_pipeline(folder).components)
    with pytest.raises(ValueError, match=r"'other', with runs of \['toy'\]"):
        local.run(other, folder / "root")
    assert run(folder).executed == ()


def test_missing_file_is_named(folder):
    (folder / "in.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"in\.txt"):
        run(folder)


def start(folder, seconds):
    command = [sys.executable, "-m", "tests.pipelines.toys", folder, str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_run_goes_on_and_leaves_no_half_of_an_artifact(folder):
    process = start(folder, 60)
    half = folder / "root" / "executions" / ".2.tmp" / "words" / "words.txt"
    try:
        wait_for(lambda: half.exists() and half.read_text() == "SOME ", process)
        with pytest.raises(BlockingIOError, match="Another run is going on"):
            run(folder)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
    result = run(folder)
    assert result.cached == ("Source",)
    assert result.executed == ALL[1:]
    assert not half.parents[1].exists()
    with sqlite3.connect(folder / "root" / "store.sqlite") as db:
        states = db.execute("SELECT state FROM runs ORDER BY id").fetchall()
    assert states == [("interrupted",), ("complete",)]


def test_runs_may_move(folder):
    run(folder)
    (folder / "root").rename(folder / "moved")
    assert local.run(make_pipeline(folder), folder / "moved").executed == ()


def test_names_of_components_are_unique(folder):
    source = Source(folder / "in.txt")
    with pytest.raises(ValueError, match="unique names.*'Source'"):
        Pipeline("toy", [source, source])


def test_inputs_come_from_components_before(folder):
    source = Source(folder / "in.txt")
    upper = Upper(source.outputs["words"])
    with pytest.raises(ValueError, match="Input 'words' of 'Upper'"):
        Pipeline("toy", [upper, source])
    with pytest.raises(ValueError, match="Input 'words' of 'Judge'"):
        Pipeline("toy", [source, Judge(upper.outputs["words"])])


@pytest.mark.parametrize("options", [[], ["--runner=DirectRunner"], ["--runner"]])
def test_beam_runner_must_be_named(folder, options):
    with pytest.raises(ValueError, match="--runner=FlinkRunner"):
        beam.run(make_pipeline(folder), folder / "root", options)
