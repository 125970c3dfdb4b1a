"""Tuner: tries values of the Trainer's hyperparameters, and keeps the best."""

import itertools
import json
import pathlib
import random
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.components import trainer
from pipelines.definition import Channel, Component, Context


class Tuner(Component):
    """Trains with each candidate by `run_fn` of the module, and compares the scores.

    A trial is what `run_fn` writes to `model_run_dir/metrics.json`; the `score` there
    must come from rows that were held out of the training split, so that the `eval`
    split stays unseen. Writes the best trial to `best_hyperparameters.txt`, alone in
    its folder as in TFX, and all trials to `trials.json` of the results.

    Args:
        examples: transformed examples.
        transform_graph: the transform graph.
        schema: the schema.
        module_file: Python file with `run_fn(fn_args)`.
        train_split: the split to train on.
        eval_split: the split that `run_fn` evaluates on.
        custom_config: dict that `run_fn` gets.
        grid: dict of values to try by name of an entry of `custom_config`.
        num_trials: number of random points of the grid; None tries all.
        seed: int. Seed of the random points.
        name: name of the component.
    """

    OUTPUTS = {
        "best_hyperparameters": "HyperParameters",
        "tuner_results": "TunerResults",
    }

    def __init__(
        self,
        examples: Channel,
        transform_graph: Channel,
        schema: Channel,
        module_file: str,
        train_split: str,
        eval_split: str,
        custom_config: Mapping[str, Any],
        grid: Mapping[str, Sequence[Any]],
        num_trials: int | None = None,
        seed: int = 0,
        name: str = "Tuner",
    ):
        inputs = {
            "examples": examples,
            "transform_graph": transform_graph,
            "schema": schema,
        }
        parameters = {
            "module_file": module_file,
            "train_split": train_split,
            "eval_split": eval_split,
            "custom_config": dict(custom_config),
            "grid": {key: list(values) for key, values in grid.items()},
            "num_trials": num_trials,
            "seed": seed,
        }
        super().__init__(name, inputs, parameters, [module_file])

    def execute(self, context: Context) -> None:
        """Runs the trials, one after the other."""
        from pipelines.data import layout

        trials = []
        for candidate in self.candidates():
            with tempfile.TemporaryDirectory() as temporary:
                model_run = pathlib.Path(temporary) / "model_run"
                trainer.run(
                    self.parameters,
                    context,
                    pathlib.Path(temporary) / layout.SERVING_MODEL,
                    model_run,
                    {"values": candidate},
                )
                metrics = json.loads((model_run / "metrics.json").read_text())
            trials.append({"values": candidate, "score": metrics["score"]})
        best = max(trials, key=lambda trial: trial["score"])
        folder = context.outputs["best_hyperparameters"]
        (folder / layout.HYPERPARAMETERS).write_text(json.dumps(best))
        results = context.outputs["tuner_results"]
        (results / "trials.json").write_text(json.dumps(trials, indent=2))

    def candidates(self) -> list[dict[str, Any]]:
        """The points of the grid that are tried."""
        grid = self.parameters["grid"]
        points = [
            dict(zip(grid, values, strict=True))
            for values in itertools.product(*grid.values())
        ]
        num_trials = self.parameters["num_trials"]
        if num_trials is None or num_trials >= len(points):
            return points
        return random.Random(self.parameters["seed"]).sample(points, num_trials)
