"""`tf-mtl train`, killed by the system in mid-run and started again."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 30
# The command line, in a process that knows the tiny data set.
PROGRAM = """
import sys
from tests.experiments.tiny_data import INFO
from tf_mtl import cli
from tf_mtl.datasets import registry

registry._DATASETS["tiny"] = INFO
sys.exit(cli.main(sys.argv[1:]))
"""
# Dropout, running norms and a schedule: state that a restart could lose.
OPTIONS = [
    "--dataset=tiny",
    "--model=mmoe",
    '--model_args={"num_experts": 2, "expert_units": [8], "tower_units": [4]}',
    '--aggregator_args={"norm_ema": 0.9}',
    "--batch_size=64",
    f"--epochs={EPOCHS}",
    "--nojit",  # Compilation would take most of the time.
    "--patience=0",
]
# Far above what a run takes, for machines with other work to do.
TIMEOUT = 300


def start(folder, *options):
    command = [sys.executable, "-c", PROGRAM, "train", *OPTIONS, *options]
    return subprocess.Popen(
        [*command, f"--output_dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors


def wait_for_checkpoint(folder, process):
    state = folder / "checkpoints" / "state.json"
    deadline = time.monotonic() + TIMEOUT
    while not state.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def numbers(folder):
    result = json.loads((folder / "metrics.json").read_text())
    return {key: result[key] for key in ("test", "validation", "train")}


def saved_state(folder):
    """Weights, optimizer, aggregator and seeds after the last epoch, by path."""
    found = {}

    def visit(path, item):
        if isinstance(item, h5py.Dataset):
            found[path] = item[()]

    file = folder / "checkpoints" / f"epoch-{EPOCHS:04d}.weights.h5"
    with h5py.File(file) as content:
        content.visititems(visit)
    return found


def test_killed_run_ends_as_one_that_was_not(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed, victim = start(whole), start(killed)
    try:
        wait_for_checkpoint(killed, victim)
        victim.kill()
        assert victim.wait() == -signal.SIGKILL
        saved = json.loads((killed / "checkpoints" / "state.json").read_text())
        assert 0 < len(saved["scores"]) < EPOCHS
        finish(start(killed, "--resume"))
        finish(undisturbed)
    finally:
        for process in (undisturbed, victim):
            process.kill()
            process.wait()
    assert numbers(killed) == numbers(whole)
    actual, expected = saved_state(killed), saved_state(whole)
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(actual[path], value, err_msg=path)
