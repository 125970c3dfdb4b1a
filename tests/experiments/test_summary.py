import re

import numpy as np
import pytest

from tf_mtl.experiments.summary import draw, holm, summarise, tables


def scores(auc, log_loss=0.5):
    return {"click": {"auc": auc, "log_loss": log_loss, "num_known": 9}}


SCORES = {
    "first": [scores(0.7), scores(0.8), scores(0.6)],
    "better": [scores(0.8), scores(0.9), scores(0.9)],
    "same": [scores(0.7), scores(0.8), scores(0.6)],
}


def test_rows_match_hand_computation():
    rows = {(row.metric, row.variant): row for row in summarise(SCORES)}
    assert [row.variant for row in summarise(SCORES)] == [*SCORES, *SCORES]
    first, better = rows["auc", "first"], rows["auc", "better"]
    np.testing.assert_allclose([first.mean, first.std], [0.7, 0.1])
    assert first.difference == 0.0
    assert first.p_value is None
    # Differences 0.1, 0.1, 0.3: t = (1/6) / (sqrt(4/300) / sqrt(3)) = 2.5, and with
    # two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    np.testing.assert_allclose(better.difference, 0.5 / 3)
    np.testing.assert_allclose(better.p_value, 1 - 2.5 / np.sqrt(8.25), rtol=1e-9)
    # The variant that is the same has no test, so there is one test to correct for.
    assert better.p_holm == better.p_value
    assert rows["auc", "same"].p_value is None


def test_holm_matches_hand_computation():
    # Times 4, 3, 2, 1 in ascending order, never falling, at most 1.
    found = holm([0.02, 0.01, 0.9, 0.021])
    np.testing.assert_allclose(found, [0.06, 0.04, 0.9, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    assert len(holm([])) == 0


def test_score_that_does_not_exist_is_left_out():
    found = {"a": [scores(0.7), scores(0.6)], "b": [scores(None), scores(0.6)]}
    auc_a, auc_b, *_ = summarise(found)
    assert auc_a.mean == pytest.approx(0.65)
    assert auc_b.mean is auc_b.difference is auc_b.p_holm is None
    # The reference has none: means stand alone.
    swapped = summarise({"b": found["b"], "a": found["a"]})
    assert swapped[1].mean == auc_a.mean
    assert swapped[1].difference is None


def test_one_seed_has_neither_deviation_nor_test():
    rows = summarise({"a": [scores(0.7)], "b": [scores(0.6)]})
    assert rows[1].difference == pytest.approx(-0.1)
    assert rows[1].std is rows[1].p_value is rows[1].p_holm is None


def test_tables_show_every_number(tmp_path):
    rows = summarise(SCORES)
    lines = tables(rows).splitlines()
    assert lines[0] == "auc"
    assert re.split("  +", lines[1])[-3:] == ["difference", "p", "p (Holm)"]
    assert lines[2].split()[1:] == ["first", "0.7000", "0.1000", "+0.0000", "-", "-"]
    assert lines[3].split()[2:] == ["0.8667", "0.0577", "+0.1667", "0.13", "0.13"]
    assert "difference: to first; p: paired t-test over 3 seeds" in lines[-1]
    draw(rows, "title", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
