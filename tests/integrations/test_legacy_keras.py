"""Runs the tests in `legacy_keras`, in a process whose `tf.keras` is Keras 2.

Each of them shows up here under its own name, and fails here if it fails there.
"""

import os
import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

FOLDER = pathlib.Path(__file__).with_name("legacy_keras")
ROOT = FOLDER.parents[2]
NAMES = sorted(
    f"{path.stem}::{name}"
    for path in FOLDER.glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The process, and what it reports on each test function."""
    path = tmp_path_factory.mktemp("report") / "report.xml"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    process = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(FOLDER), f"--junitxml={path}"),
            *("-p", "no:xdist", "-p", "no:cacheprovider", "-q"),
        ],
        cwd=ROOT,
        env=environment | {"TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert path.exists(), process.stdout + process.stderr
    cases = {}
    for case in ElementTree.parse(path).iter("testcase"):
        module = case.get("classname").rpartition(".")[2]
        name = case.get("name").partition("[")[0]
        cases.setdefault(f"{module}::{name}", []).append(case)
    return process, cases


# pytest-xdist takes what is before the last "::" of an id for the scope of the test,
# and each scope would run the process anew.
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.replace("::", "-"))
def test_passes_with_legacy_keras(name, finished):
    _, cases = finished
    faults = [
        f"{case.get('name')}: {fault.tag}\n{fault.text}"
        for case in cases.get(name, [])
        for fault in case
        if fault.tag in ("failure", "error", "skipped")
    ]
    assert cases.get(name), f"{name} did not run"
    assert not faults, "\n\n".join(faults)


def test_nothing_else_went_wrong_in_the_process(finished):
    process, cases = finished
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    assert sorted(cases) == NAMES
