import dataclasses
import json

import pytest

from tests.datasets.census_rows import make_rows
from tf_mtl.experiments import comparison, runs
from tf_mtl.experiments.comparison import compare
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.variants import parse_variants


@pytest.fixture
def base(config):
    return dataclasses.replace(
        config,
        model="split_mmoe",
        model_args={"num_experts": 2, "expert_units": [4], "tower_units": [4]},
        aggregator="ew",
        epochs=1,
        jit=False,
    )


@pytest.fixture
def variants(base):
    text = 'a/b=,again=,literal=split_mmoe:router={"reading": "literal"}:level=both'
    return parse_variants(text, base)


def test_comparison_is_paired_and_goes_on_where_it_stopped(
    base, variants, tmp_path, capsys, monkeypatch
):
    pair = {name: variants[name] for name in ("a/b", "literal")}
    rows = compare(pair, 2, tmp_path)
    printed = capsys.readouterr().out
    assert "4 of 4 runs to do" in printed
    assert "[4/4] literal, seed 1: click auc" in printed
    assert [(r.metric, r.task, r.variant) for r in rows] == [
        (metric, task, variant)
        for metric in ("auc", "log_loss")
        for task in ("click", "buy")
        for variant in pair
    ]
    assert all(0 < value < 1 for row in rows for value in row.values)
    reference, literal, *_ = (row for row in rows if row.metric == "log_loss")
    assert reference.values[0] != reference.values[1]
    assert literal.values[0] != reference.values[0]
    assert literal.p_value is not None
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["p_value"] for row in content["rows"]] == [r.p_value for r in rows]
    assert content["variants"]["literal"] == dataclasses.asdict(pair["literal"])
    assert "p (Holm)" in (tmp_path / "comparison.md").read_text()
    assert (tmp_path / "comparison.png").stat().st_size > 1000

    # Killed before the last run: only that one is done again, with the same numbers.
    (tmp_path / "runs" / "literal-seed1" / "metrics.json").unlink()
    assert compare(pair, 2, tmp_path) == rows
    assert "1 of 4 runs to do" in capsys.readouterr().out

    # The same choices by another name see the same rows in the same order.
    found = compare({**pair, "again": variants["again"]}, 2, tmp_path)
    assert "2 of 6 runs to do" in capsys.readouterr().out
    values = {(r.metric, r.task, r.variant): r.values for r in found}
    for metric in ("auc", "log_loss"):
        for task in ("click", "buy"):
            assert values[metric, task, "again"] == values[metric, task, "a/b"]

    # Nothing to train: no data are read.
    monkeypatch.setattr(runs, "prepare", None)
    assert compare(pair, 2, tmp_path) == rows
    changed = {"a/b": dataclasses.replace(base, epochs=2)}
    with pytest.raises(ValueError, match="epochs: 1 then, 2 now"):
        compare(changed, 3, tmp_path)


def test_arguments_are_checked_before_training(base, tmp_path):
    with pytest.raises(ValueError, match="must not be empty.*num_seeds=0"):
        compare({"a": base}, 0, tmp_path)
    with pytest.raises(ValueError, match="must not be empty"):
        compare({}, 1, tmp_path)
    other = dataclasses.replace(base, embedding_dim=4)
    with pytest.raises(ValueError, match="must share 'embedding_dim'"):
        compare({"a": base, "b": other}, 1, tmp_path)
    with pytest.raises(ValueError, match="`monitor_every` must be 0"):
        compare({"a": dataclasses.replace(base, monitor_every=1)}, 1, tmp_path)
    assert not list(tmp_path.iterdir())
    wrong = dataclasses.replace(base, model_args={"router": "paired"})
    with pytest.raises(ValueError, match="Variant 'b': `router` must be a Router"):
        compare({"a": base, "b": wrong}, 1, tmp_path)
    assert not list(tmp_path.glob("runs/*/metrics.json"))


def test_every_variant_is_tuned_on_validation_rows(base, tmp_path, capsys):
    bottom = {"bottom_units": [4], "tower_units": [4]}
    other = dataclasses.replace(base, model="shared_bottom", model_args=bottom)
    variants = {"a": base, "b": other}
    # A rate of 1e-9 learns nothing, so that the other one is chosen.
    grid = {"learning_rate": [1e-9, 0.03]}
    compare(variants, 3, tmp_path, grid, num_tuning_seeds=2)
    printed = capsys.readouterr().out
    # The first seeds of the chosen point are done once.
    assert "8 of 8 runs to do" in printed and "2 of 6 runs to do" in printed
    content = json.loads((tmp_path / "comparison.json").read_text())
    scores = content["validation_scores"]
    done = [tmp_path / "runs" / f"a learning_rate=0.03-seed{seed}" for seed in (0, 1)]
    best = [json.loads((f / "metrics.json").read_text())["train"] for f in done]
    mean = sum(train["best_score"] for train in best) / 2
    assert scores["a learning_rate=0.03"] == pytest.approx(mean, rel=1e-12)
    assert scores["a learning_rate=0.03"] > scores["a learning_rate=1e-09"]
    assert [c["learning_rate"] for c in content["variants"].values()] == [0.03, 0.03]
    text = (tmp_path / "comparison.md").read_text()
    chosen = [line for line in text.splitlines() if line.endswith("yes")]
    assert [line.split("  ")[0] for line in chosen] == [
        "a learning_rate=0.03",
        "b learning_rate=0.03",
    ]


def test_grid_is_checked(base, tmp_path):
    with pytest.raises(ValueError, match="`num_tuning_seeds` must be at least 1"):
        compare({"a": base}, 1, tmp_path, {"dropout": [0.0]}, num_tuning_seeds=0)
    with pytest.raises(ValueError, match="`grid` may change.*Received: \\['rate'\\]"):
        compare({"a": base}, 1, tmp_path, {"rate": [1]})
    for values in ([], 0.001):
        with pytest.raises(ValueError, match="`grid` must have a list of values"):
            compare({"a": base}, 1, tmp_path, {"learning_rate": values})
    with pytest.raises(ValueError, match=r"must not make another.*\['model'\]"):
        compare({"a": base}, 1, tmp_path, {"model": ["mmoe"]})
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        compare({"a": base}, 1, tmp_path, {"learning_rate": [-1.0]})


def test_arguments_on_the_grid_are_added_to_those_of_the_variant(base):
    config = dataclasses.replace(base, model_args={"router": {}, "num_experts": 2})
    grid = {"model_args": [{"num_experts": 3}], "dropout": [0.0, 0.1]}
    points = [run.config for run in comparison._points("a", config, grid)]
    assert [point.dropout for point in points] == [0.0, 0.1]
    assert points[0].model_args == {"router": {}, "num_experts": 3}


def test_runs_that_share_a_step_are_as_if_alone(base, tmp_path):
    config = dataclasses.replace(
        base,
        model="mmoe",
        model_args={"num_experts": 2, "expert_units": [4], "tower_units": [4]},
        aggregator="gradcraft",
        dropout=0.3,
        epochs=2,
        jit=True,
    )
    together = compare({"a": config}, 2, tmp_path / "together")
    second = {"a": dataclasses.replace(config, seed=1)}
    alone = compare(second, 1, tmp_path / "alone")
    assert [row.values[1:] for row in together] == [row.values for row in alone]


def test_runs_are_cut_where_a_process_would_compile_too_many_steps(base):
    names = "abcdefghij"
    many = [
        runs.Run(name, dataclasses.replace(base, dropout=i / 10, seed=seed))
        for i, name in enumerate(names)
        for seed in (0, 1)
    ]
    groups = runs._groups(many)
    assert [run for group in groups for run in group] == many
    assert [len({run.name for run in group}) for group in groups] == [8, 2]
    assert runs._groups(many[:16]) == [many[:16]]
    assert runs._groups([]) == []


@pytest.mark.slow
def test_groups_of_runs_are_trained_in_processes_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "census-income.data").write_text(make_rows(300))
    (tmp_path / "census-income.test").write_text(make_rows(60, first_age=60))
    config = TrainConfig(
        manual_dir=str(tmp_path),
        data_dir=str(tmp_path / "prepared"),
        model="shared_bottom",
        model_args={"bottom_units": [4], "tower_units": [4]},
        aggregator="ew",
        epochs=1,
    )
    variants = {"a": config, "b": dataclasses.replace(config, dropout=0.1)}
    together = compare(variants, 2, tmp_path / "together")
    monkeypatch.setattr(runs, "_STEPS_PER_PROCESS", 1)
    assert compare(variants, 2, tmp_path / "apart") == together
