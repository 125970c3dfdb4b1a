"""The commands of saved_models/README.md, with ports that are free."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tf_mtl import cli

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "saved_models" / "README.md"


def command(start):
    """The one command of a shell block that starts so, as its words."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [b.replace("\\\n", " ") for b in blocks]
    (found,) = [line for line in lines if line.startswith(start)]
    return shlex.split(found)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_reference_model_is_served_and_asked():
    serve = command("tf-mtl serve")
    child = subprocess.Popen(
        [sys.executable, "-m", "tf_mtl.cli", *serve[1:], "--port=0", "--rest_port=0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        port = re.search(r"REST (\d+)", child.stdout.readline()).group(1)
        ask = [word.replace(":8501", f":{port}") for word in command("curl")]
        answer = json.loads(subprocess.check_output([*ask, "-sS"], cwd=ROOT))
    finally:
        child.terminate()
        assert child.wait(60) == 0
        child.stdout.close()
    expected = json.loads((ROOT / "saved_models/synthetic/response.json").read_text())
    assert set(answer["outputs"]) == set(expected["outputs"])
    for name, values in expected["outputs"].items():
        np.testing.assert_allclose(answer["outputs"][name], values, atol=1e-5)


def test_reference_model_is_inspected(capsys, monkeypatch):
    (found,) = re.findall(r"`tf-mtl (inspect .*?)`", README.read_text())
    monkeypatch.chdir(ROOT)
    assert cli.main(found.split()) == 0
    assert "serve_examples" in capsys.readouterr().out
