"""The JSON file that says what an export is."""

import json
import math
import pathlib

import tensorflow as tf

import tf_mtl


def test_model_info_describes_the_export(trained):
    path = pathlib.Path(trained.folder, "assets.extra", "model_info.json")
    assert json.loads(path.read_text()) == {
        "tasks": [
            {"name": "click", "kind": "binary"},
            {"name": "dwell time", "kind": "regression"},
        ],
        "columns": {
            "city": {"dtype": "string", "shape": [None]},
            "code": {"dtype": "int64", "shape": [None]},
            "tags": {"dtype": "string", "shape": [None, None]},
            "hours-per-week": {"dtype": "float32", "shape": [None]},
        },
        "num_weights": sum(math.prod(w.shape) for w in trained.model.weights),
        "calibration": None,
        "score": None,
        "tf_mtl_version": tf_mtl.__version__,
        "tensorflow_version": tf.__version__,
    }
