"""An export answers in a process that has neither this package nor Keras."""

import base64
import json
import subprocess
import sys

import numpy as np

from .conftest import RAW, to_examples

SERVE = """
import base64, json, sys
for name in ("keras", "tf_keras", "tf_mtl"):
    sys.modules[name] = None
import tensorflow as tf
request = json.load(sys.stdin)
signatures = tf.saved_model.load(request["folder"]).signatures
assert sorted(signatures) == ["serve_examples", "serving_default"]
columns = {
    name: tf.constant(values, request["dtypes"][name])
    for name, values in request["columns"].items()
}
examples = tf.constant([base64.b64decode(text) for text in request["examples"]])
answers = [
    signatures["serving_default"](**columns),
    signatures["serve_examples"](examples=examples),
]
print(json.dumps([{k: v.numpy().tolist() for k, v in a.items()} for a in answers]))
"""


def test_export_answers_like_predict_without_keras(trained):
    examples = to_examples(RAW)
    signature = trained.model.features.raw_signature()
    request = {
        "folder": trained.folder,
        "columns": {name: column.tolist() for name, column in RAW.items()},
        "dtypes": {name: spec.dtype.name for name, spec in signature.items()},
        "examples": [base64.b64encode(example).decode() for example in examples],
    }
    child = subprocess.run(
        [sys.executable, "-c", SERVE],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    predicted = trained.predict(RAW)
    for answer in json.loads(child.stdout.splitlines()[-1]):
        assert set(answer) == set(predicted)
        for name in predicted:
            np.testing.assert_allclose(
                answer[name], predicted[name], atol=1e-6, rtol=1e-6
            )
