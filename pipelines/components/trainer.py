"""Trainer: what the module's `run_fn` trains and exports."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from pipelines.definition import Channel, Component, Context


@dataclasses.dataclass(frozen=True)
class FnArgs:
    """What `run_fn` gets, by the names of TFX.

    Attributes:
        train_files: glob patterns of the transformed examples to train on.
        eval_files: glob patterns of those to evaluate on.
        transform_graph_path: folder of the transform graph.
        schema_path: file of the schema.
        serving_model_dir: folder for the SavedModel.
        model_run_dir: folder for logs, checkpoints and numbers. With the local runner
            it holds those of an attempt that was killed, if there was one.
        custom_config: values of the pipeline.
        hyperparameters: `{"values": {...}}` that a tuner found, or None.
    """

    train_files: list[str]
    eval_files: list[str]
    transform_graph_path: str
    schema_path: str
    serving_model_dir: str
    model_run_dir: str
    custom_config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any] | None = None


class Trainer(Component):
    """Trains a model and exports it, both by `run_fn` of the module.

    Args:
        examples: transformed examples.
        transform_graph: the transform graph.
        schema: the schema.
        module_file: Python file with `run_fn(fn_args)`.
        train_split: the split to train on.
        eval_split: the split to evaluate on.
        custom_config: dict that `run_fn` gets.
        hyperparameters: what a `Tuner` found; None trains with `custom_config` alone.
        name: name of the component.
    """

    OUTPUTS = {"model": "Model", "model_run": "ModelRun"}

    def __init__(
        self,
        examples: Channel,
        transform_graph: Channel,
        schema: Channel,
        module_file: str,
        train_split: str,
        eval_split: str,
        custom_config: Mapping[str, Any],
        hyperparameters: Channel | None = None,
        name: str = "Trainer",
    ):
        inputs = {
            "examples": examples,
            "transform_graph": transform_graph,
            "schema": schema,
            "hyperparameters": hyperparameters,
        }
        parameters = {
            "module_file": module_file,
            "train_split": train_split,
            "eval_split": eval_split,
            "custom_config": dict(custom_config),
        }
        super().__init__(name, inputs, parameters, [module_file])

    def execute(self, context: Context) -> None:
        """Calls `run_fn`, which may go on where an attempt that was killed was."""
        from pipelines.data import layout

        found = None
        if "hyperparameters" in context.inputs:
            file = context.read("hyperparameters") / layout.HYPERPARAMETERS
            found = json.loads(file.read_text())
        model_run = context.scratch or context.outputs["model_run"]
        model_run.mkdir(parents=True, exist_ok=True)
        run(
            self.parameters,
            context,
            context.outputs["model"] / layout.SERVING_MODEL,
            model_run,
            found,
        )
        if context.scratch:
            shutil.copytree(model_run, context.outputs["model_run"], dirs_exist_ok=True)


def run(
    parameters: Mapping[str, Any],
    context: Context,
    serving_model_dir: pathlib.Path,
    model_run_dir: pathlib.Path,
    hyperparameters: Mapping[str, Any] | None,
) -> None:
    """Calls `run_fn` of the module; a `Tuner` does so for each trial.

    Args:
        parameters: `module_file`, `train_split`, `eval_split`, `custom_config`.
        context: inputs `examples`, `transform_graph`, `schema`.
        serving_model_dir: folder for the SavedModel.
        model_run_dir: folder for the rest.
        hyperparameters: see `FnArgs`.

    Raises:
        ValueError: if the module wrote no SavedModel.
    """
    from pipelines.data import layout, user_module

    examples = context.read("examples")
    module = user_module.load(parameters["module_file"])
    user_module.function(module, "run_fn")(
        FnArgs(
            train_files=[layout.examples_pattern(examples, parameters["train_split"])],
            eval_files=[layout.examples_pattern(examples, parameters["eval_split"])],
            transform_graph_path=str(context.read("transform_graph")),
            schema_path=str(context.read("schema") / layout.SCHEMA),
            serving_model_dir=str(serving_model_dir),
            model_run_dir=str(model_run_dir),
            custom_config=parameters["custom_config"],
            hyperparameters=hyperparameters,
        )
    )
    if not (serving_model_dir / "saved_model.pb").exists():
        raise ValueError(
            "`run_fn` must write a SavedModel to `serving_model_dir`. Received: "
            f"nothing there, by {parameters['module_file']!r}."
        )
