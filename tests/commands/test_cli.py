import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tf_mtl import cli

from ..datasets.census_rows import make_rows


@pytest.fixture
def manual_dir(tmp_path):
    folder = tmp_path / "census"
    folder.mkdir()
    (folder / "census-income.data").write_text(make_rows(60))
    (folder / "census-income.test").write_text(make_rows(30))
    return folder


@pytest.fixture(scope="session")
def real_dir():
    repository = Path(__file__).parents[2]
    shared = Path(os.environ.get("TF_MTL_SHARED", repository.parent / "shared"))
    folder = shared / "data" / "census_income"
    if not folder.is_dir():
        pytest.skip(f"no real rows: {folder} is missing; set TF_MTL_SHARED")
    return folder


def test_overview_lists_the_commands(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help_with_an_example(name, capsys):
    assert cli.main([*name.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"tf-mtl {name}" in printed
    assert "--help" in printed


def test_help_of_train_shows_choices_and_defaults(capsys):
    cli.main(["train", "--help"])
    printed = capsys.readouterr().out
    assert "--aggregator ('gradcraft')" in printed
    assert "--learning_rate ('0.001')" in printed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "`command` must be one of.*Did you mean 'train'"),
        (["train", "--epoch=3"], "epochs"),
        (["train", "--epochs=many"], "epochs"),
        (["train", "now"], "--name=value"),
        (["train"], "`output_dir` must be given"),
        (["train", "--output_dir=x", "--model=nope"], "`model` must be one of"),
        (["train", "--output_dir=x", "--model_args=[1]"], "JSON object"),
        (["compare", "--output_dir=x"], "`variants` must be given"),
        (["compare", "--variants=mmoe"], "`output_dir` must be given"),
        (["compare", "--output_dir=x", "--variants=mmoo"], "Did you mean 'mmoe'"),
        (["evaluate", "--model_dir=/nowhere"], "`dataset` must be given"),
        (["data", "prepare", "--dataset=drgrad_conflict"], "--output_dir"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(argv, message, capsys):
    assert cli.main(argv) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("tf-mtl")
    assert "Traceback" not in printed
    assert re.search(message, printed, re.DOTALL)


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="output_dir"):
        cli.main(["train", "--debug"])


def test_train_evaluate_and_describe_made_up_census(manual_dir, tmp_path, capsys):
    places = [f"--manual_dir={manual_dir}", f"--data_dir={tmp_path / 'prepared'}"]
    assert cli.main(["data", "prepare", *places]) == 0
    assert "train: 60 rows, 39 features" in capsys.readouterr().out
    assert cli.main(["data", "describe", "--dataset=census_income", *places]) == 0
    described = capsys.readouterr().out
    assert "income 0.2000, never_married 0.3333" in described
    assert "correlation of income and never_married" in described
    output = tmp_path / "run"
    arguments = [
        f"--output_dir={output}",
        "--model=shared_bottom",
        '--model_args={"bottom_units": [4], "tower_units": []}',
        "--epochs=1",
        "--batch_size=16",
    ]
    assert cli.main(["train", *places, *arguments]) == 0
    trained = json.loads((output / "metrics.json").read_text())
    file = tmp_path / "found.json"
    assert cli.main(["evaluate", f"--model_dir={output}", f"--output={file}"]) == 0
    found = json.loads(file.read_text())
    for task, metrics in trained["test"].items():
        assert found[task] == pytest.approx(metrics, abs=1e-6)


def test_compare_prints_and_writes_a_table(manual_dir, tmp_path, capsys):
    arguments = [
        "--variants=|ew,|pcgrad",
        "--seeds=1",
        f"--output_dir={tmp_path / 'compared'}",
        f"--manual_dir={manual_dir}",
        f"--data_dir={tmp_path / 'prepared'}",
        "--model=shared_bottom",
        '--model_args={"bottom_units": [4], "tower_units": []}',
        "--epochs=1",
        "--batch_size=16",
        "--nojit",
    ]
    assert cli.main(["compare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"never_married +\|pcgrad +\d\.\d{4}", printed)
    written = (tmp_path / "compared" / "comparison.json").read_text()
    methods = [v["aggregator"] for v in json.loads(written)["variants"].values()]
    assert methods == ["ew", "pcgrad"]


def test_generated_data_is_written_as_records(tmp_path, capsys):
    # 110,000 rows would take long: the refusal to overwrite is enough to see the path.
    (tmp_path / "train-00000-of-00001").touch()
    argv = ["data", "prepare", "--dataset=drgrad_conflict", f"--output_dir={tmp_path}"]
    assert cli.main(argv) == 2
    assert "must not have files yet" in capsys.readouterr().err


@pytest.mark.slow
def test_census_reaches_its_goal(real_dir, tmp_path):
    argv = [f"--manual_dir={real_dir}", f"--output_dir={tmp_path}"]
    assert cli.main(["train", *argv]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert found["income"]["auc"] >= 0.945
    assert found["never_married"]["auc"] >= 0.993


@pytest.mark.slow
def test_demo_serves_from_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tf_mtl.cli", "demo", f"--output_dir={tmp_path}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "GradCraft" in done.stdout
    assert "label_2 (label)" in done.stdout
    assert (tmp_path / "demo.png").stat().st_size > 1000
