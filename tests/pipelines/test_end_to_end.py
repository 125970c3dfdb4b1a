"""Census-Income from raw files to a pushed model, on made-up rows."""

import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from pipelines import run
from pipelines.components.evaluator import Evaluator
from pipelines.data import layout
from pipelines.definition import Channel, Context
from pipelines.runners import local
from tf_mtl import export, features
from tf_mtl.datasets import census_files
from tf_mtl.integrations import tfx

from ..datasets.census_rows import make_row

REPOSITORY = pathlib.Path(__file__).parents[2]
STEPS = (
    "CsvExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "Pusher",
)
VALUES = {
    # The rows are told apart by their age alone.
    "schema_options": {"max_skew": 1.0, "max_drift": 0.5},
    "custom_config": {
        "model": "shared_bottom",
        "model_args": {"bottom_units": [8], "tower_units": [4]},
        "epochs": 5,
        "batch_size": 16,
        "embedding_dim": 2,
        "learning_rate": 0.02,
        "calibration": "platt",
        "score": "income + 2 * never_married",
        "jit": False,  # Compilation would take most of the time.
    },
    "eval_args": {"min_auc": {}, "max_auc_drop": 1.0, "slices": ["sex"]},
    "num_requests": 5,
}
TIMEOUT = 300


def make_rows(num_rows):
    """The young are never married, the old have a high income; not so one in five."""
    rows = []
    for i in range(num_rows):
        age, is_usual = 15 + i % 49, i % 5 > 0
        marital = "Never married" if (age < 35) == is_usual else "Divorced"
        income = "50000+." if (age > 45) == is_usual else "- 50000."
        rows.append(make_row(age, marital, income))
    return "".join(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("census")
    (folder / "census-income.data").write_text(make_rows(200))
    (folder / "census-income.test").write_text(make_rows(60))
    return folder


def run_here(folder, **changes):
    values = json.dumps({**VALUES, **changes})
    root = folder / "root"
    pipeline = run.load("census_income", root, str(folder), values)
    return local.run(pipeline, root)


@pytest.fixture(scope="module")
def resumed(folder):
    """A run that was killed after Transform, and its continuation."""
    command = [sys.executable, "-m", "pipelines.run", "--pipeline=census_income"]
    command += [f"--data_dir={folder}", f"--root={folder / 'root'}"]
    command += [f"--config={json.dumps(VALUES)}"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT
    try:
        while not (folder / "root" / "executions" / ".6.tmp").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
    return run_here(folder)


def test_killed_run_goes_on_after_what_was_done(resumed):
    assert resumed.reason is None
    assert resumed.cached == STEPS[:5]
    assert resumed.executed == STEPS[5:]


def test_run_is_counted_by_its_artifacts(folder, resumed):
    assert sorted(artifact.type for artifact in resumed.outputs.values()) == [
        "ExampleAnomalies",
        "ExampleStatistics",
        "Examples",
        "Examples",
        "InfraBlessing",
        "Model",
        "ModelBlessing",
        "ModelEvaluation",
        "ModelRun",
        "PushedModel",
        "Schema",
        "TransformGraph",
    ]
    root = folder / "root"
    executions = {artifact.path.parents[0] for artifact in resumed.outputs.values()}
    assert set((root / "executions").iterdir()) == executions
    with sqlite3.connect(root / "store.sqlite") as db:
        [[count]] = db.execute("SELECT COUNT(*) FROM artifacts").fetchall()
    assert count == len(resumed.outputs)


def test_pushed_model_answers_raw_requests(folder, resumed):
    [version] = (folder / "root" / "served").iterdir()
    assert version.name == "1"
    loaded = tf.saved_model.load(str(version))
    serve = loaded.signatures["serving_default"]
    unseen = {tf.string: "never seen", tf.int64: 777, tf.float32: 1.5}
    specs = serve.structured_input_signature[1]
    columns = {
        name: tf.constant([unseen[spec.dtype]] * 2, spec.dtype)
        for name, spec in specs.items()
    }
    answer = serve(**columns)
    assert sorted(answer) == ["income", "never_married", "score"]
    assert answer["income"].shape == (2,)
    # Nothing is known of the second.
    examples = [b"", tf.train.Example().SerializeToString()]
    answer = loaded.signatures["serve_examples"](examples=tf.constant(examples))
    assert all(0 < p < 1 for p in answer["income"].numpy())
    labels = loaded.signatures["transform_labels"]
    assert sorted(labels.structured_outputs) == ["income", "never_married"]


def test_export_tells_where_it_comes_from_and_warms_up(resumed):
    found = export.inspect(resumed.outputs["Trainer", "model"].path / "Format-Serving")
    provenance = found.info["provenance"]
    assert provenance["data"] == "Transformed examples of a pipeline."
    assert len(provenance["fingerprint"]) == 64
    assert found.info["calibration"]["method"] == "platt"
    assert found.info["score"]["formula"] == "income + 2 * never_married"
    # One row and many, by columns and by examples.
    assert found.num_warmup_requests == 4


def test_blessing_follows_from_the_evaluation(resumed):
    [blessing] = resumed.outputs["Evaluator", "blessing"].path.iterdir()
    assert blessing.name == "BLESSED"
    [infra] = resumed.outputs["InfraValidator", "blessing"].path.iterdir()
    assert infra.name == "INFRA_BLESSED"
    assert "6 requests" in infra.read_text()
    metrics = resumed.outputs["Trainer", "model_run"].path / "metrics.json"
    assert set(json.loads(metrics.read_text())) == {"score", "validation", "eval"}


def test_second_run_is_from_the_cache_and_loads_nothing(folder, resumed):
    program = f"""
import pathlib, sys, time
start = time.monotonic()
from pipelines import run
from pipelines.runners import local
root = pathlib.Path({str(folder / "root")!r})
pipeline = run.load("census_income", root, {str(folder)!r}, {json.dumps(VALUES)!r})
result = local.run(pipeline, root)
assert result.cached == {STEPS!r}, result
assert not {{"tensorflow", "apache_beam"}} & set(sys.modules)
assert time.monotonic() - start < 15
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_worse_model_is_not_pushed(folder, resumed):
    result = run_here(
        folder,
        # It learns nothing. The bounds themselves are met by any model.
        custom_config={**VALUES["custom_config"], "learning_rate": 1e-9},
        eval_args={**VALUES["eval_args"], "max_auc_drop": 0.01},
    )
    assert result.executed == ("Trainer", "Evaluator")
    assert result.reason.startswith("Evaluator: the model breaks ")
    assert re.search(
        r"auc of \w+ changes by -0\.\d+ from the last blessed model, allowed at least "
        r"-0\.0100\.",
        result.reason,
    )
    [blessing] = result.outputs["Evaluator", "blessing"].path.iterdir()
    assert blessing.name == "NOT_BLESSED"
    assert [v.name for v in (folder / "root" / "served").iterdir()] == ["1"]


def test_first_model_must_reach_its_bounds_too(resumed, tmp_path):
    evaluator = Evaluator(
        Channel("CsvExampleGen", "examples", "Examples"),
        Channel("Trainer", "model", "Model"),
        run.load("census_income", tmp_path, "").components[6].files[0],
        "eval",
        {"min_auc": {"income": 0.9999}, "max_auc_drop": 0.0, "slices": []},
    )
    outputs = {name: tmp_path / name for name in evaluator.OUTPUTS}
    for output in outputs.values():
        output.mkdir()
    inputs = {
        "examples": resumed.outputs["CsvExampleGen", "examples"].path,
        "model": resumed.outputs["Trainer", "model"].path,
        "baseline_model": None,
    }
    reason = evaluator.execute(Context(inputs, outputs, local.BEAM_OPTIONS))
    assert "the model breaks 1 bounds" in reason
    assert "at least 0.9999 is needed" in reason


def test_layout_is_that_of_tfx(resumed):
    examples = resumed.outputs["CsvExampleGen", "examples"].path
    assert layout.split_names(examples) == ["eval", "train"]
    assert (examples / "Split-train").is_dir()
    model = resumed.outputs["Trainer", "model"].path
    assert (model / "Format-Serving" / "saved_model.pb").exists()
    graph = resumed.outputs["Transform", "transform_graph"].path
    assert {p.name for p in graph.iterdir()} == {
        "metadata",
        "transform_fn",
        "transformed_metadata",
    }


def test_features_behind_a_graph_learn_nothing(resumed):
    graph = resumed.outputs["Transform", "transform_graph"].path
    with pytest.raises(ValueError, match=r"must learn nothing.*\['age'\]"):
        tfx.TransformedFeatures([features.Categorical("age")], graph, ["age"])
    learned = [features.Numeric("age", normalization=None, default=0.0)]
    with pytest.raises(ValueError, match=r"must be raw columns.*Received: \['size'\]"):
        tfx.TransformedFeatures(learned, graph, ["size"])


def test_values_that_are_missing_are_so_for_the_graph(resumed):
    graph = resumed.outputs["Transform", "transform_graph"].path
    columns = [*census_files.CATEGORICAL, *census_files.NUMERIC]
    made = tfx.TransformedFeatures(
        [
            features.IntegerRange("sex", 1000, missing_value=-2),
            features.Numeric("weeks_worked", normalization=None, default=0.0),
        ],
        graph,
        columns,
    )
    missing = {tf.string: "", tf.int64: 0, tf.float32: float("nan")}
    raw = {
        name: tf.constant([missing[spec.dtype]] * 3, spec.dtype)
        for name, spec in made.raw_signature().items()
    }
    raw |= {"sex": ["Female", "", "?!"], "weeks_worked": [52, 52, 53]}
    inputs = made(raw)
    # Id 0 is missing, 1 unknown.
    ids = inputs["sex"].numpy()
    assert ids[0] > 1
    assert list(ids[1:]) == [0, 1]
    # All rows have 52 weeks, so a week more is a step of its logarithm, not of noise.
    weeks = inputs["weeks_worked"].numpy()[:, 0]
    assert abs(weeks[0]) < 1e-5
    assert abs(weeks[2] - weeks[0]) < 0.02
    example = tf.train.Example()
    example.features.feature["sex"].bytes_list.value.append(b"Female")
    examples = [example.SerializeToString(), b""]
    parsed = tf.io.parse_example(examples, made.parsing_spec())
    assert list(made(parsed)["sex"].numpy()) == [ids[0], 0]


def test_temporary_files_of_transform_lie_where_workers_reach(
    resumed, tmp_path, monkeypatch
):
    import tensorflow_transform.beam as tft_beam

    seen = []

    def context(temp_dir):
        seen.append(pathlib.Path(temp_dir))
        raise InterruptedError

    monkeypatch.setattr(tft_beam, "Context", context)
    transform = run.load("census_income", tmp_path, "").components[4]
    outputs = {name: tmp_path / name for name in transform.OUTPUTS}
    for output in outputs.values():
        output.mkdir()
    inputs = {
        "examples": resumed.outputs["CsvExampleGen", "examples"].path,
        "schema": resumed.outputs["SchemaGen", "schema"].path,
    }
    with pytest.raises(InterruptedError):
        transform.execute(Context(inputs, outputs, local.BEAM_OPTIONS))
    [temporary] = seen
    assert temporary.parent == tmp_path
    assert not temporary.exists()


# Each process imports TensorFlow.
@pytest.mark.slow
def test_two_worker_processes_transform_and_evaluate_as_one_does(resumed, tmp_path):
    options = (
        *local.BEAM_OPTIONS,
        "--direct_num_workers=2",
        "--direct_running_mode=multi_processing",
    )
    components = run.load("census_income", tmp_path, "").components
    paths = {name: artifact.path for name, artifact in resumed.outputs.items()}

    def execute(component, inputs, **parameters):
        outputs = {name: tmp_path / name for name in component.OUTPUTS}
        for output in outputs.values():
            output.mkdir()
        component.parameters.update(parameters)
        return component.execute(Context(inputs, outputs, options)), outputs

    examples = paths["CsvExampleGen", "examples"]
    inputs = {"examples": examples, "schema": paths["SchemaGen", "schema"]}
    _, outputs = execute(components[4], inputs)
    graph, transformed = outputs["transform_graph"], outputs["transformed_examples"]
    assert vocabulary(graph) == vocabulary(paths["Transform", "transform_graph"])
    for split in ("train", "eval"):
        expected = paths["Transform", "transformed_examples"]
        # Moments are added up in another order.
        np.testing.assert_allclose(
            rows(transformed, split), rows(expected, split), atol=1e-4
        )

    inputs = {
        "examples": examples,
        "model": paths["Trainer", "model"],
        "baseline_model": paths["Trainer", "model"],
    }
    reason, outputs = execute(components[6], inputs, eval_args=VALUES["eval_args"])
    assert reason is None
    found, expected = (
        auc_by_slice(folder)
        for folder in (outputs["evaluation"], paths["Evaluator", "evaluation"])
    )
    # TFMA sorts predictions into buckets. Batches of another size round otherwise, so
    # that a pair of rows at a border may count for more or less: one of some 400.
    assert found == pytest.approx(expected, abs=1 / 400)
    assert set(found) == {"Overall", "sex:Female"}


def vocabulary(graph):
    [path] = graph.rglob("values")
    return path.read_text()


def rows(artifact, split):
    """Age and labels of all rows, sorted: files have no order."""
    files = tf.io.gfile.glob(layout.examples_pattern(artifact, split))
    found = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        columns = tf.train.Example.FromString(record).features.feature
        names = ("age", "income", "never_married")
        found.append([columns[name].float_list.value[0] for name in names])
    return np.array(sorted(found))


def auc_by_slice(folder):
    """AUC of the income of the candidate."""
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.slicer import slicer_lib

    result = model_eval_lib.load_eval_result(str(folder))
    return {
        slicer_lib.stringify_slice_key(key): metrics["income"][""]["auc"]["doubleValue"]
        for key, metrics in result.slicing_metrics
    }
