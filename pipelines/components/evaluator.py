"""Evaluator: measures a model by TFMA, and blesses it or says why not."""

import pathlib
from collections.abc import Mapping
from typing import Any

from pipelines.definition import Channel, Component, Context, Previous

BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"


class Evaluator(Component):
    """Evaluates a model on raw examples, against bounds and against the last model.

    The last model is the newest that this component blessed and that differs. Stops if
    a bound of the `EvalConfig` is broken. `blessing` holds a file `BLESSED` or
    `NOT_BLESSED`, with the reason.

    Args:
        examples: raw examples.
        model: the model.
        module_file: Python file with `make_eval_config(**eval_args)`.
        eval_split: the split to evaluate on.
        eval_args: arguments of `make_eval_config`.
        name: name of the component.
    """

    OUTPUTS = {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"}

    def __init__(
        self,
        examples: Channel,
        model: Channel,
        module_file: str,
        eval_split: str,
        eval_args: Mapping[str, Any],
        name: str = "Evaluator",
    ):
        inputs: dict[str, Channel | Previous | None] = {
            "examples": examples,
            "model": model,
            "baseline_model": Previous(model, approved_by=name),
        }
        parameters = {
            "module_file": module_file,
            "eval_split": eval_split,
            "eval_args": dict(eval_args),
        }
        super().__init__(name, inputs, parameters, [module_file])

    def execute(self, context: Context) -> str | None:
        """Evaluates, writes the results, reads whether they are good enough."""
        from tensorflow_model_analysis.api import model_eval_lib
        from tensorflow_model_analysis.utils import config_util

        from pipelines.data import evaluation, layout, user_module
        from pipelines.data.beam import evaluation_io, make_pipeline

        module = user_module.load(self.parameters["module_file"])
        make_eval_config = user_module.function(module, "make_eval_config")
        baseline = context.inputs["baseline_model"]
        config = config_util.update_eval_config_with_defaults(
            make_eval_config(**self.parameters["eval_args"]),
            has_baseline=baseline is not None,
            # Without a model before, bounds on changes hold.
            rubber_stamp=baseline is None,
        )
        folders = {"candidate": context.read("model")}
        if baseline is not None:
            folders["baseline"] = baseline
        models = [
            model_eval_lib.default_eval_shared_model(
                str(folder / layout.SERVING_MODEL),
                model_name="" if baseline is None else name,
                eval_config=config,
                rubber_stamp=baseline is None,
            )
            for name, folder in folders.items()
        ]
        split = self.parameters["eval_split"]
        source = evaluation_io(context.read("examples"), split)
        output = str(context.outputs["evaluation"])
        with make_pipeline(context.beam_options) as pipeline:
            _ = (
                pipeline
                | source.BeamSource()
                | model_eval_lib.ExtractEvaluateAndWriteResults(
                    eval_config=config,
                    eval_shared_model=models,
                    output_path=output,
                )
            )
        reason = evaluation.describe_failures(output)
        write_blessing(context.outputs["blessing"], reason)
        return reason


def write_blessing(folder: pathlib.Path, reason: str | None) -> None:
    """Writes whether a model is blessed, as a file whose name says so."""
    name = BLESSED if reason is None else NOT_BLESSED
    (folder / name).write_text(reason or "")
