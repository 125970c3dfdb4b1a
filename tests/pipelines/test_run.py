import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import lineage, run, runners, values
from pipelines.runners import local
from tf_mtl import cli

from .toys import make_pipeline

REPOSITORY = Path(__file__).parents[2]


def test_pipelines_are_found_by_their_folders():
    assert run.NAMES == ("census_income", "synthetic_feed")


@pytest.mark.parametrize("name", run.NAMES)
def test_declaring_a_pipeline_loads_no_library(name, tmp_path):
    program = f"""
import sys, pathlib
from pipelines import run, runners
pipeline = run.load({name!r}, pathlib.Path({str(tmp_path)!r}), "data")
print([component.name for component in pipeline.components])
runners.get("local")
heavy = {{"tensorflow", "apache_beam", "keras", "numpy"}} & set(sys.modules)
sys.exit(f"loaded: {{heavy}}" if heavy else 0)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'StatisticsGen', 'SchemaGen', 'ExampleValidator'" in done.stdout


def test_values_of_a_config_can_be_replaced(tmp_path):
    changes = {
        "custom_config": {"epochs": 2},
        "tuner_options": {"grid": {"learning_rate": [1e-3, 1e-2]}},
    }
    pipeline = run.load("census_income", tmp_path, "data", json.dumps(changes))
    by_name = {component.name: component for component in pipeline.components}
    assert "Tuner" in by_name
    config = by_name["Trainer"].parameters["custom_config"]
    assert (config["epochs"], config["batch_size"]) == (2, 256)
    assert by_name["Trainer"].inputs["hyperparameters"].component == "Tuner"


def test_kept_schema_replaces_the_inferred_one(tmp_path):
    changes = json.dumps({"schema_file": "census.pbtxt"})
    pipeline = run.load("census_income", tmp_path, "data", changes)
    [schema_gen] = [c for c in pipeline.components if c.name == "SchemaGen"]
    assert schema_gen.files == ("census.pbtxt",)


def test_unknown_names_are_errors(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'census_income'"):
        run.load("census", tmp_path, None)
    with pytest.raises(ValueError, match="data_dir"):
        run.load("census_income", tmp_path, None)
    with pytest.raises(ValueError, match="Did you mean 'num_requests'"):
        values.replace_values({"num_requests": 1}, {"num_request": 2})
    with pytest.raises(ValueError, match="Did you mean 'local'"):
        runners.get("locl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"custom_config": {"learning_rte": 1}}', "Did you mean 'learning_rate'"),
        ('{"schema_options": {"max_drif": 1}}', r"\['max_domain'.*'max_drift'"),
        ('{"eval_args": {"min_aus": {}}}', "Did you mean 'min_auc'"),
        ('{"tuner_options": {"grids": {}}}', r"\['grid', 'num_trials', 'seed'\]"),
        (
            '{"tuner_options": {"grid": {"learning_rte": [1]}}}',
            "`grid` must be one of.*Did you mean 'learning_rate'",
        ),
        ('{"custom_config": 3}', "`custom_config` must be a JSON object"),
        ("[1]", r"`config` must be a JSON object.*Received: \[1\]\."),
        ('{"epochs": ', "`config` must be a JSON object.*Expecting value"),
    ],
)
def test_wrong_values_are_errors_before_any_work(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        run.load("census_income", tmp_path, "data", text)


def test_entries_that_have_no_value_yet_may_be_added(tmp_path):
    changes = json.dumps({"custom_config": {"optimizer": "adam"}})
    pipeline = run.load("census_income", tmp_path, "data", changes)
    [trainer] = [c for c in pipeline.components if c.name == "Trainer"]
    assert trainer.parameters["custom_config"]["optimizer"] == "adam"


def test_run_that_is_stopped_has_a_code_of_its_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "in.txt").write_text("some words")
    root = tmp_path / "root"
    local.run(make_pipeline(tmp_path), root)
    (tmp_path / "in.txt").write_text("word")
    monkeypatch.setattr(run, "load", lambda *_: make_pipeline(tmp_path))
    options = ["--pipeline=toy", f"--root={root}"]
    assert cli.run_command(run, "pipelines.run", options) == 3
    assert "the words got shorter" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tfx", "kubeflow"])
def test_runner_that_is_not_installed_says_what_it_needs(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"glibc 2\.39"):
        runners.get(name)


def test_error_of_a_user_is_one_line(tmp_path):
    command = [sys.executable, "-m", "pipelines.run", "--pipeline=census_income"]
    command += [f"--data_dir={tmp_path}", f"--root={tmp_path / 'root'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "No file matches" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam_options=--runner=FlinkRunner"], "`beam_options` need another --run"),
        (["--root=gs://bucket/runs"], "`root` must be a folder of this machine"),
        (["--data_dir=s3://bucket"], "`data_dir` must be a folder of this machine"),
    ],
)
def test_options_that_would_do_nothing_or_harm_are_refused(
    options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = ["--pipeline=census_income", "--data_dir=data", *options]
    assert cli.run_command(run, "pipelines.run", arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["run", "lineage", "synthetic_feed.generator"])
def test_every_command_has_a_help_with_an_example(module, capsys):
    command = importlib.import_module(f"pipelines.{module}")
    assert cli.run_command(command, f"pipelines.{module}", ["--help"]) == 0
    assert f"python -m pipelines.{module} --" in capsys.readouterr().out


def test_lineage_of_no_runs_is_an_error(tmp_path, capsys):
    assert cli.run_command(lineage, "lineage", [f"--root={tmp_path}"]) == 2
    assert "holds no store.sqlite" in capsys.readouterr().err


def test_lineage_is_printed_and_drawn(tmp_path, capsys):
    (tmp_path / "in.txt").write_text("some words")
    root, picture = tmp_path / "root", tmp_path / "lineage.svg"
    local.run(make_pipeline(tmp_path), root)
    options = [f"--root={root}", f"--output={picture}"]
    assert cli.run_command(lineage, "lineage", options) == 0
    assert "writes words" in capsys.readouterr().out
    assert picture.exists()
