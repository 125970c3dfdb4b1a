"""Two replicas of half a batch do what one does of the whole batch."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from . import replicas

TESTS = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Weights and logs of all cases on one device and on two replicas."""
    folder = tmp_path_factory.mktemp("replicas")
    paths = [folder / f"{n}.npz" for n in (1, 2)]
    search = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
    for n, path in enumerate(paths, start=1):
        # Logical devices must be configured before TensorFlow starts.
        command = [sys.executable, "-m", "models.replicas", str(path), str(n)]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
    return [np.load(path) for path in paths]


@pytest.mark.parametrize("case", replicas.CASES)
def test_two_replicas_equal_one(case, runs):
    one, two = runs
    keys = [key for key in one.files if key.startswith(f"{case}/")]
    assert any("weights" in key for key in keys)
    for key in keys:
        np.testing.assert_allclose(
            two[key], one[key], rtol=1e-5, atol=1e-5, err_msg=key
        )
