"""The joint model of the documents, on files in the format of MovieLens 100K."""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.integrations.movielens_files import NUM_MOVIES, write_files

ROOT = pathlib.Path(__file__).parents[3]


def snippets(document, language):
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(code, name):
    namespace = {"__name__": name}
    exec(compile(code, name, "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("document")
    write_files(folder / "ml-100k")
    return folder


@pytest.fixture(scope="module")
def document(folder):
    """The names that the document defines, and `printed`."""
    code, output = "\n".join(snippets("docs/tfrs.md", "python")), io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(output):
            found = run(code, "tfrs.md")
    finally:
        os.chdir(before)
    return found | {"printed": output.getvalue()}


def test_joint_model_trains_by_the_sum_and_by_gradcraft(document):
    pattern = r"(\w+): RMSE (\S+), top-100 accuracy (\S+)"
    found = re.findall(pattern, document["printed"])
    assert [name for name, *_ in found] == ["ew", "gradcraft"]
    assert np.isfinite([float(number) for _, *pair in found for number in pair]).all()


SERVE = """
import sys
for name in ("keras", "tf_keras", "tf_mtl", "tensorflow_recommenders"):
    sys.modules[name] = None
import tensorflow as tf
_, titles = tf.saved_model.load("exported/movies")(tf.constant(["42"]))
print(titles[0, :10].numpy().tolist())
"""


def test_export_answers_like_the_index_without_keras(document, folder):
    child = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert str(document["titles"][0].numpy().tolist()) in child.stdout


def test_joint_model_learns_both_tasks(document):
    model, test = document["model"], document["test"]
    model.fit(document["train"], epochs=60, verbose=0)
    scores = model.evaluate(test, return_dict=True, verbose=0)
    ratings = np.concatenate([batch["user_rating"] for batch in test])
    assert scores["rmse"] < 0.7 * np.std(ratings)
    by_chance = 50 / NUM_MOVIES
    top_50 = scores["factorized_top_k/top_50_categorical_accuracy"]
    assert top_50 > 1.4 * by_chance


def test_snippet_of_the_readme_runs():
    [code] = snippets("README.md", "python tfrs")
    found = run(code, "README.md")
    assert isinstance(found["model"], tf.keras.Model)
