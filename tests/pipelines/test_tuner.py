"""The Tuner with a module that trains nothing."""

import json

import pytest

from pipelines.components.tuner import Tuner
from pipelines.definition import Channel, Context

MODULE = """
import json, pathlib

def run_fn(fn_args):
    values = {**fn_args.custom_config, **fn_args.hyperparameters["values"]}
    model_run = pathlib.Path(fn_args.model_run_dir)
    model = pathlib.Path(fn_args.serving_model_dir)
    model_run.mkdir(parents=True)
    model.mkdir(parents=True)
    score = -abs(values["rate"] - 0.2) + values["bonus"]
    (model_run / "metrics.json").write_text(json.dumps({"score": score}))
    (model / "saved_model.pb").touch()
"""


def make_tuner(tmp_path, grid, module=MODULE, **options):
    path = tmp_path / "toy_module.py"
    path.write_text(module)
    channels = {
        name: Channel("Other", name, "Any")
        for name in ("examples", "transform_graph", "schema")
    }
    return Tuner(
        **channels,
        module_file=str(path),
        train_split="train",
        eval_split="eval",
        custom_config={"rate": 1.0, "bonus": 0.0},
        grid=grid,
        **options,
    )


def execute(tuner, tmp_path):
    outputs = {name: tmp_path / name for name in tuner.OUTPUTS}
    for folder in outputs.values():
        folder.mkdir()
    inputs = dict.fromkeys(tuner.inputs, tmp_path)
    tuner.execute(Context(inputs, outputs))
    best = outputs["best_hyperparameters"] / "best_hyperparameters.txt"
    trials = outputs["tuner_results"] / "trials.json"
    return json.loads(best.read_text()), json.loads(trials.read_text())


def test_best_point_of_the_grid_is_kept(tmp_path):
    tuner = make_tuner(tmp_path, {"rate": [0.1, 0.2, 0.4], "bonus": [0.0, 1.0]})
    best, trials = execute(tuner, tmp_path)
    assert best == {"values": {"rate": 0.2, "bonus": 1.0}, "score": 1.0}
    assert len(trials) == 6


def test_random_points_are_of_the_grid_and_follow_from_the_seed(tmp_path):
    grid = {"rate": list(range(10)), "bonus": list(range(10))}
    tuners = [make_tuner(tmp_path, grid, num_trials=5, seed=s) for s in (0, 0, 1)]
    points = [tuner.candidates() for tuner in tuners]
    assert points[0] == points[1] != points[2]
    assert len({tuple(point.items()) for point in points[0]}) == 5


def test_module_without_a_model_is_an_error(tmp_path):
    tuner = make_tuner(tmp_path, {"rate": [1]}, "def run_fn(fn_args): pass")
    with pytest.raises(ValueError, match="must write a SavedModel"):
        execute(tuner, tmp_path)


def test_module_without_the_function_is_an_error(tmp_path):
    tuner = make_tuner(tmp_path, {"rate": [1]}, "x = 1")
    with pytest.raises(ValueError, match="must define a function 'run_fn'"):
        execute(tuner, tmp_path)
