"""The example pipelines by real TFX, on made-up rows.

`make test-tfx` makes the environment and runs this file.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines import runners
from pipelines.census_income import configs
from pipelines.runners import portable
from pipelines.synthetic_feed import configs as feed_configs
from pipelines.synthetic_feed import generator
from tests.datasets.census_rows import make_row
from tests.pipelines import toys

pytestmark = pytest.mark.tfx

VALUES = {
    "custom_config": {
        "model_args": {"num_experts": 2, "expert_units": [8], "tower_units": [4]},
        "epochs": 3,
        "batch_size": 64,
    },
    "tuner_options": {"grid": {"learning_rate": [1e-2, 2e-2]}},
    "schema_options": {"max_skew": 0.2, "max_drift": 0.2},
    "eval_args": {"min_auc": {"income": 0.2, "never_married": 0.2}, "slices": []},
}
# Barely trained. Every bound but that on the change is met.
WORSE = VALUES | {"tuner_options": {"grid": {"learning_rate": [1e-9]}}}
AFTER_VALIDATION = {
    "Transform",
    "Tuner",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "Pusher",
}
NODES = AFTER_VALIDATION | {
    "CsvExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "ExampleValidator-TFX",
}


def write_rows(folder, first_age):
    """The young are never married, the old have a high income, most of them."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, num_rows in (("data", 1500), ("test", 600)):
        ages = random.integers(first_age, first_age + 50, num_rows)
        noise = random.normal(0.0, 5.0, (2, num_rows))
        rows = [
            make_row(
                age,
                "Never married" if age + x < 35 else "Divorced",
                "50000+." if age + y > 45 else "- 50000.",
            )
            for age, x, y in zip(ages, *noise, strict=True)
        ]
        (folder / f"census-income.{name}").write_text("".join(rows))
    return str(folder)


class Runs:
    """Runs with one store, in the order of the tests."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.usual = write_rows(folder / "usual", 15)
        self.older = write_rows(folder / "older", 40)

    def run(self, values=VALUES, data_dir=None, runner="tfx", **options):
        data_dir = data_dir or self.usual
        pipeline = configs.make_pipeline(self.root, data_dir, **values)
        return runners.get(runner).run(pipeline, self.root, **options)

    def versions(self):
        return sorted(path.parent for path in self.root.glob("served/*/saved_model.pb"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("tfx"))


@pytest.fixture(scope="module")
def first(runs):
    return runs.run()


def test_first_run_executes_every_node_and_pushes_a_model(runs, first):
    assert first.reason is None
    assert set(first.executed) >= NODES
    (version,) = runs.versions()
    signature = tf.saved_model.load(str(version)).signatures["serve_examples"]
    answers = signature(examples=tf.constant([b""]))
    assert {"income", "never_married"} <= set(answers)
    assert all(np.isfinite(answer).all() for answer in answers.values())


def test_unchanged_run_is_cached(runs, first):
    before = runs.versions()
    second = runs.run()
    assert second.executed == ()
    assert set(second.cached) >= NODES
    assert runs.versions() == before


def test_worse_model_is_not_pushed(runs, first):
    before = runs.versions()
    worse = runs.run(WORSE)
    assert "from the last blessed model" in worse.reason
    assert {"Trainer", "Evaluator"} <= set(worse.executed)
    assert runs.versions() == before
    again = runs.run(WORSE)
    assert (again.reason, again.executed) == (worse.reason, ())


def test_after_a_worse_model_the_first_is_still_cached(runs, first):
    assert runs.run().executed == ()


def test_drift_stops_before_transform(runs, first):
    drifted = runs.run(data_dir=runs.older)
    assert "ExampleValidator" in drifted.reason
    assert "age" in drifted.reason
    assert not AFTER_VALIDATION & {*drifted.executed, *drifted.cached}


def test_rejected_data_are_nothing_to_compare_with(runs, first):
    again = runs.run(data_dir=runs.older)
    assert "age" in again.reason


def test_root_of_another_pipeline_is_refused(runs, first):
    data_dir = str(runs.root)
    other = feed_configs.make_pipeline(runs.root, data_dir)
    with pytest.raises(ValueError, match="one pipeline.*census_income"):
        runners.get("tfx").run(other, runs.root)


def test_records_of_the_feed_become_a_pushed_model(tmp_path):
    generator.write(tmp_path / "rows", num_rows=3000, seed=0)
    pipeline = feed_configs.make_pipeline(
        tmp_path / "root",
        str(tmp_path / "rows"),
        custom_config={"epochs": 1},
        schema_options={"max_skew": 0.5},
        eval_args={"min_auc": {"click": 0.2}, "slices": []},
    )
    result = runners.get("tfx").run(pipeline, tmp_path / "root")
    assert result.reason is None
    assert "ImportExampleGen" in result.executed
    assert list(tmp_path.glob("root/served/*/saved_model.pb"))


def test_kubeflow_gets_every_node(runs):
    result = runs.run(
        runner="kubeflow", image="registry/image:1", remote_root="ram://pipelines"
    )
    compiled = json.loads(result.path.read_text())
    spec = compiled["pipelineSpec"]
    assert set(spec["root"]["dag"]["tasks"]) >= NODES
    assert compiled["runtimeConfig"]["gcsOutputDirectory"] == "ram://pipelines"
    containers = [
        executor["container"]["image"]
        for executor in spec["deploymentSpec"]["executors"].values()
        if "container" in executor
    ]
    assert len(containers) == len(NODES)
    assert set(containers) == {"registry/image:1"}


def test_component_works_on_an_object_store(tmp_path):
    from tfx.types import standard_artifacts

    from pipelines.runners import tfx_nodes

    (tmp_path / "in.txt").write_text("one two")
    executor = tfx_nodes.Node.EXECUTOR_SPEC.executor_class()
    words, louder = standard_artifacts.Schema(), standard_artifacts.Schema()
    words.uri, louder.uri = "ram://words", "ram://louder"
    source = toys.Source(tmp_path / "in.txt")
    upper = toys.Upper(source.outputs["words"])
    for component, inputs, output in (
        (source, {}, words),
        (upper, {"words": [words]}, louder),
    ):
        values = {"component": portable.dump(component, with_content=True)}
        executor.Do(inputs, {"words": [output]}, values)
    assert tf.io.gfile.GFile("ram://louder/words.txt").read() == "ONE TWO!"
