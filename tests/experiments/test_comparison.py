import dataclasses
import json

import pytest

from tf_mtl.experiments import comparison
from tf_mtl.experiments.comparison import compare
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
    monkeypatch.setattr(comparison, "prepare", None)
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
