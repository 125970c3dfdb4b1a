"""The joint model of the documents, on files in the format of MovieLens 100K."""

import pathlib
import re
import subprocess
import sys

import tensorflow as tf

from tests.integrations.movielens_files import write_files

ROOT = pathlib.Path(__file__).parents[3]


def snippets(document, language):
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(code, name):
    namespace = {"__name__": name}
    exec(compile(code, name, "exec"), namespace)
    return namespace


SERVE = """
import sys
for name in ("keras", "tf_keras", "tf_mtl", "tensorflow_recommenders"):
    sys.modules[name] = None
import tensorflow as tf
_, titles = tf.saved_model.load("exported/movies")(tf.constant(["42"]))
print(titles[0, :10].numpy().tolist())
"""


def test_joint_model_trains_evaluates_and_is_served(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "ml-100k")
    found = run("\n".join(snippets("docs/tfrs.md", "python")), "tfrs.md")
    lines = capsys.readouterr().out.splitlines()
    rmse, top_100 = {}, {}
    for line in lines:
        name, error, accuracy = re.match(
            r"(\w+): RMSE (.*), top-.* (.*)", line
        ).groups()
        rmse[name], top_100[name] = float(error), float(accuracy)
    assert set(rmse) == {"ew", "gradcraft"}
    assert rmse["gradcraft"] < rmse["ew"]
    assert min(top_100.values()) > 0.5
    child = subprocess.run(
        [sys.executable, "-c", SERVE], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    titles = [title.decode() for title in found["titles"][0].numpy()]
    assert str([t.encode() for t in titles]) in child.stdout


def test_snippet_of_the_readme_runs():
    [code] = snippets("README.md", "python tfrs")
    found = run(code, "README.md")
    assert isinstance(found["model"], tf.keras.Model)
