"""The Trainer, and what `tfx.train` checks before it reads a row."""

import types

import pytest

from pipelines.components.trainer import Trainer
from pipelines.definition import Component, Pipeline
from pipelines.runners import local
from tf_mtl import Task
from tf_mtl.integrations import tfx

TASKS = [Task("click"), Task("like")]


@pytest.mark.parametrize("source", ["custom_config", "hyperparameters"])
def test_value_of_an_unknown_name_is_an_error(source):
    wrong = {"learning_rte": 0.1}
    values = {"custom_config": {}, "hyperparameters": None}
    values[source] = wrong if source == "custom_config" else {"values": wrong}
    fn_args = types.SimpleNamespace(**values)
    with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
        tfx.train(fn_args, lambda *_: [], TASKS, [])


MODULE = """
import pathlib

def run_fn(fn_args):
    folder = pathlib.Path(fn_args.model_run_dir)
    epochs = folder / "epochs.txt"
    before = epochs.read_text() if epochs.exists() else ""
    epochs.write_text(before + "x")
    if before in fn_args.custom_config["ends"]:
        raise {"killed": KeyboardInterrupt, "failed": ValueError}[
            fn_args.custom_config["ends"][before]
        ]
    model = pathlib.Path(fn_args.serving_model_dir)
    model.mkdir(parents=True)
    (model / "saved_model.pb").touch()
"""


class Inputs(Component):
    OUTPUTS = {"examples": "Examples", "transform_graph": "Graph", "schema": "Schema"}

    def execute(self, context):
        del context


def run(folder, ends, **options):
    """Epochs of a training that ends early after the epochs of `ends`."""
    module = folder / "module.py"
    module.write_text(MODULE)
    inputs = Inputs("Inputs", {}, {})
    config = {"ends": ends}
    trainer = Trainer(
        **inputs.outputs,
        module_file=str(module),
        train_split="train",
        eval_split="eval",
        custom_config=config,
    )
    result = local.run(Pipeline("train", [inputs, trainer]), folder / "root", **options)
    path = result.outputs["Trainer", "model_run"].path / "epochs.txt"
    return path.read_text()


def test_killed_training_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"": "killed"})
    assert run(tmp_path, {"": "killed"}) == "xx"
    # What was kept for that is gone.
    assert not list((tmp_path / "root" / "scratch").rglob("*.txt"))


def test_other_training_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"": "killed"})
    assert run(tmp_path, {}) == "x"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"": "killed"})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"": "killed"}, cache=False)
    assert run(tmp_path, {"": "killed"}) == "xx"


def test_failed_training_begins_anew(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError):
            run(tmp_path, {"": "failed"})
