"""Sizes of the measured model: their rules, and that every command uses them."""

import json
import re

import pytest

from tf_mtl import cli
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.benchmarks.workload import Workload

COMMANDS = ("step", "models", "serving", "hlo")

# Of the model, and of the run: the smallest there is.
OPTIONS = (
    "--num_features=3",
    "--embedding_dim=2",
    "--num_experts=2",
    "--expert_units=4,3",
    "--tower_units=2",
    "--num_tasks=2",
)
TEXT = "3 features x 2, 2 experts 4-3, towers 2"
# Each of two experts of two layers; a gate and a tower, which ends in a logit, for each
# of two tasks.
PARAMETERS = 2 * (7 * 4 + 5 * 3) + 2 * (6 * 2 + 4 * 2 + 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_features": 0}, r"`num_features`.*Received: num_features=0.*for 20"),
        ({"embedding_dim": -1}, "`embedding_dim`.*Received: embedding_dim=-1.*for 16"),
        ({"num_experts": 2.0}, r"`num_experts`.*Received: num_experts=2\.0.*for 4"),
        ({"num_experts": True}, "`num_experts`.*Received: num_experts=True"),
        ({"expert_units": (8, 0)}, r"`expert_units`.*Received: .*\(8, 0\).*as 128,64"),
        ({"expert_units": 8}, "`expert_units`.*Received: expert_units=8"),
        ({"expert_units": ()}, "`expert_units` must have a layer"),
        ({"tower_units": ("8",)}, "`tower_units`.*Received: tower_units="),
    ],
)
def test_a_wrong_size_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sizes(**arguments)


def test_vocabulary_has_rows_for_each_feature():
    sizes = Sizes(num_features=50, embedding_dim=2)
    Workload(2, 150, sizes=sizes).model("shared_bottom")
    with pytest.raises(ValueError, match="at least 150.*50 features.*vocabulary=149"):
        Workload(2, 149, sizes=sizes)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--num_experts=0", "`num_experts` must be"),
        ("--num_features=x", "num_features=x"),
        ("--expert_units=128,-1", "`expert_units` must be"),
        ("--expert_units=128,x", "expert_units=128,x: .* such as 128,64"),
        ("--tower_units=", "tower_units=: .* such as 128,64"),
        ("--num_features=99999999", "`vocabulary` must be at least 299999997"),
    ],
)
def test_errors_of_the_commands(command, option, message, capsys, tmp_path):
    out = [f"--out={tmp_path / 'new'}"] if command == "hlo" else []
    assert cli.main(["bench", command, option, *out]) == 2
    printed = capsys.readouterr()
    assert re.search(message, printed.err)
    assert not printed.out  # Nothing has begun.


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models=mmoe,mmoo"], "Did you mean 'mmoe'"),
        (["--models=mmoe,ac_mmoe", "--expert_units=5"], "`num_heads` must divide"),
    ],
)
def test_the_second_model_is_checked_before_the_first_is_measured(
    command, options, message, capsys, tmp_path
):
    out = [f"--out={tmp_path / 'new'}"] if command == "hlo" else []
    assert cli.main(["bench", command, *options, "--num_tasks=2", *out]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_defaults(command, capsys):
    assert cli.main(["bench", command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--num_features ('20')" in printed
    assert "--expert_units ('128,64')" in printed


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("step", ["--vocabularies=30", "--batch_size=4", "--methods=ew", "--nojit"]),
        ("models", ["--vocabulary=30", "--batch_size=4", "--models=mmoe"]),
        ("serving", ["--vocabulary=30", "--batch_sizes=4", "--models=mmoe"]),
    ],
)
def test_model_of_given_sizes_is_measured(command, options, capsys, tmp_path):
    file = tmp_path / "result.json"
    few = ("--rounds=1", "--calls=1", f"--output={file}")
    assert cli.main(["bench", command, *OPTIONS, *options, *few]) == 0
    assert f"Model: {TEXT}\n" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["sizes"] == {
        "num_features": 3,
        "embedding_dim": 2,
        "num_experts": 2,
        "expert_units": [4, 3],
        "tower_units": [2],
    }
    assert {row["parameters"] for row in result["rows"]} == {PARAMETERS}


def test_step_of_a_model_of_given_sizes_is_exported(capsys, tmp_path):
    out = tmp_path / "hlo"
    options = ("--vocabularies=30", "--batch_sizes=4", "--methods=ew", f"--out={out}")
    assert cli.main(["bench", "hlo", *OPTIONS, *options]) == 0
    assert f"ew-t2-b4-v30: {TEXT} ..." in capsys.readouterr().out
    config = json.loads((out / "ew-t2-b4-v30" / "config.json").read_text())
    shapes = {name: shape for name, _, shape in config["arguments"]}
    assert config["network"] == TEXT
    assert shapes["mmoe/embedding/id_2:0"] == [10, 2]
