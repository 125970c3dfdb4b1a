"""The example pipelines as they are: on the real census rows, and on the whole feed."""

import json
import os
import pathlib
import time

import numpy as np
import pytest

from pipelines import run
from pipelines.census_income import configs as census_configs
from pipelines.runners import local
from pipelines.synthetic_feed import generator
from tf_mtl.datasets import census_files

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture
def real_dir():
    shared = pathlib.Path(os.environ.get("TF_MTL_SHARED", REPOSITORY.parent / "shared"))
    folder = shared / "data" / "census_income"
    if not folder.is_dir():
        pytest.skip(f"no real rows: {folder} is missing; set TF_MTL_SHARED")
    return folder


def test_census_columns_are_those_of_the_files():
    assert census_configs.VALUES["columns"] == list(census_files.COLUMNS)


def test_feed_has_labels_that_are_missing_and_rare():
    columns = generator.make_columns(5000, seed=0)
    assert len(generator.TASKS) == 14
    assert np.isnan(columns["click"]).sum() == 0
    for name, (share_known, share_positive) in generator.TASKS.items():
        known = ~np.isnan(columns[name])
        if name in generator.AFTER_CLICK:
            assert not known[columns["click"] == 0].any()
            continue
        assert abs(known.mean() - share_known) < 0.05
        assert abs(columns[name][known].mean() - share_positive) < 0.05
    same, other = (generator.make_columns(5000, seed=s) for s in (0, 1))
    np.testing.assert_equal(same, columns)
    assert (other["item_id"] != columns["item_id"]).any()


@pytest.mark.slow
def test_census_from_raw_files_to_a_pushed_model(real_dir, tmp_path):
    pipeline = run.load("census_income", tmp_path, str(real_dir))
    start = time.monotonic()
    first = local.run(pipeline, tmp_path)
    middle = time.monotonic()
    second = local.run(pipeline, tmp_path)
    end = time.monotonic()
    assert first.reason is None
    assert (tmp_path / "served" / "1" / "saved_model.pb").exists()
    assert second.executed == ()
    print(f"first run {middle - start:.0f} s, second run {end - middle:.1f} s")
    assert middle - start < 300
    assert end - middle < 15
    metrics = first.outputs["Trainer", "model_run"].path / "metrics.json"
    found = json.loads(metrics.read_text())["eval"]
    assert found["income"]["auc"] > 0.94
    assert found["never_married"]["auc"] > 0.99


@pytest.mark.slow
def test_feed_from_records_to_a_pushed_model(tmp_path):
    generator.write(tmp_path / "feed", 20000, seed=0)
    pipeline = run.load("synthetic_feed", tmp_path, str(tmp_path / "feed"))
    result = local.run(pipeline, tmp_path)
    assert result.reason is None
    metrics = result.outputs["Trainer", "model_run"].path / "metrics.json"
    found = json.loads(metrics.read_text())["eval"]
    assert len(found) == 14
    assert min(task["auc"] for task in found.values()) > 0.5
