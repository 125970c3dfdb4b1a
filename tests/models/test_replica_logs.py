"""Two replicas log what one logs, uneven batches and skipped updates included."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logs():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = []
    for replicas in ("1", "2"):
        command = [sys.executable, "-m", "tests.models.replica_evaluation", replicas]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return found


@pytest.mark.parametrize("part", [0, 1], ids=["evaluation", "training"])
def test_two_replicas_log_what_one_logs(logs, part):
    one, two = (found[part] for found in logs)
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-5, err_msg=name)


def test_skipped_updates_are_counted_once(logs):
    assert logs[1][1]["skipped_updates"] == 1.0
