"""The files beside the graph that say what an export is."""

import datetime
import json
import math
import pathlib
import subprocess

import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import export

PROVENANCE = export.Provenance(
    data="clicks of a week",
    fingerprint="ab12",
    num_rows={"train": 4},
    metrics={"test": {"click": {"auc": 0.75, "reason": "a | b"}}},
    choices={"epochs": 1},
    limits=("Not for children.",),
)


def read(folder, name):
    return pathlib.Path(folder, "assets.extra", name).read_text(encoding="utf-8")


def test_model_info_describes_the_export(trained):
    info = json.loads(read(trained.folder, "model_info.json"))
    created = datetime.datetime.fromisoformat(info.pop("created"))
    age = datetime.datetime.now(datetime.UTC) - created
    assert datetime.timedelta(0) <= age < datetime.timedelta(hours=1)
    del info["git_revision"]
    assert info == {
        "architecture": "SharedBottom",
        "tasks": [
            {"name": "click", "kind": "binary", "primary": True},
            {"name": "dwell time", "kind": "regression", "primary": False},
        ],
        "features": [
            {"name": "city", "kind": "Categorical", "column": "city"},
            {"name": "code", "kind": "IntegerRange", "column": "code"},
            {"name": "tags", "kind": "Categorical", "column": "tags"},
            {"name": "tag_bin", "kind": "Hashed", "column": "tags"},
            {"name": "hours", "kind": "Numeric", "column": "hours-per-week"},
            {"name": "hours_bin", "kind": "Bucketized", "column": "hours-per-week"},
        ],
        "columns": {
            "city": {"dtype": "string", "shape": [None]},
            "code": {"dtype": "int64", "shape": [None]},
            "tags": {"dtype": "string", "shape": [None, None]},
            "hours-per-week": {"dtype": "float32", "shape": [None]},
        },
        "num_weights": sum(math.prod(w.shape) for w in trained.model.weights),
        "weights": [w.path for w in trained.model.weights],
        "calibration": None,
        "score": None,
        "provenance": None,
        "tf_mtl_version": tf_mtl.__version__,
        "tensorflow_version": tf.__version__,
    }


def test_revision_is_that_of_the_working_directory(trained, tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def revision():
        folder = export.save(trained.model, tmp_path / "models")
        return json.loads(read(folder, "model_info.json"))["git_revision"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision() is None
    git("init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "--quiet", "--message=first")
    head = git("rev-parse", "HEAD")
    assert revision() == head
    (tmp_path / "code.py").write_text("2")
    assert revision() == f"{head}-dirty"


def test_model_card_tells_what_is_known_and_what_is_not(trained, tmp_path):
    card = read(trained.folder, "MODEL_CARD.md")
    assert "| click | binary | yes | probability |" in card
    assert "tags (Categorical), tag_bin (Hashed)" in card
    assert card.count("Not recorded.") == 2
    assert "do not bid by them" in card
    calibration = export.Calibration(
        "platt",
        {"click": {"slope": 1.0, "intercept": 0.0}},
        {
            "click": {
                "num_known": 9,
                "before": {"log_loss": 0.5, "calibration_error": 0.125},
                "after": {"log_loss": 0.25, "calibration_error": 0.0625},
            }
        },
    )
    folder = export.save(
        trained.model,
        tmp_path,
        calibration=calibration,
        score=export.Score("w * click", {"w": 2.0}),
        provenance=PROVENANCE,
    )
    card = read(folder, "MODEL_CARD.md")
    for line in (
        "`w * click`, where w = 2 unless a request says otherwise.",
        "clicks of a week",
        "Fingerprint of the training rows: `ab12`.",
        "| train | 4 |",
        "| epochs | 1 |",
        r"| test | click | 0.7500 | a \| b |",
        "| click | 9 | before | 0.5000 | 0.1250 |",
        "| click | 9 | after | 0.2500 | 0.0625 |",
        "- Not for children.",
    ):
        assert line in card
    assert "Not recorded." not in card
    assert "do not bid by them" not in card
    info = json.loads(read(folder, "model_info.json"))
    assert info["provenance"]["metrics"] == PROVENANCE.metrics


def test_provenance_that_json_cannot_write_is_refused():
    with pytest.raises(TypeError, match="`choices` must be such that JSON"):
        export.Provenance(choices={"optimizer": object()})
