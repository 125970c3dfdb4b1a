"""The usual steps: from examples to a pushed model."""

from collections.abc import Mapping
from typing import Any

from pipelines.components.evaluator import Evaluator
from pipelines.components.example_validator import ExampleValidator
from pipelines.components.infra_validator import InfraValidator
from pipelines.components.pusher import Pusher
from pipelines.components.schema_gen import ImportSchemaGen, SchemaGen
from pipelines.components.statistics_gen import StatisticsGen
from pipelines.components.trainer import Trainer
from pipelines.components.transform import Transform
from pipelines.components.tuner import Tuner
from pipelines.definition import Component


def make_steps(
    example_gen: Component,
    module_file: str,
    schema_file: str | None,
    schema_options: Mapping[str, Any],
    custom_config: Mapping[str, Any],
    tuner_options: Mapping[str, Any] | None,
    eval_args: Mapping[str, Any],
    num_requests: int,
    push_destination: str,
) -> list[Component]:
    """Makes the components.

    Args:
        example_gen: gives `examples` with the splits `train` and `eval`.
        module_file: the user's module.
        schema_file: schema that people have checked; None infers one.
        schema_options: arguments of `SchemaGen`.
        custom_config: what the module's `run_fn` gets.
        tuner_options: arguments of `Tuner`; None leaves it out.
        eval_args: what the module's `make_eval_config` gets.
        num_requests: requests of the InfraValidator.
        push_destination: folder of the served versions.
    """
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = (
        SchemaGen(statistics, "train", **schema_options)
        if schema_file is None
        else ImportSchemaGen(schema_file)
    )
    schema = schema_gen.outputs["schema"]
    # A schema that people have checked says itself which columns there are.
    validator = ExampleValidator(
        statistics, schema, "train", compare_columns=schema_file is None
    )
    transform = Transform(examples, schema, module_file, "train")
    transformed: dict[str, Any] = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "module_file": module_file,
        "train_split": "train",
        "eval_split": "eval",
        "custom_config": custom_config,
    }
    tuner = None if tuner_options is None else Tuner(**transformed, **tuner_options)
    if tuner is not None:
        transformed["hyperparameters"] = tuner.outputs["best_hyperparameters"]
    trainer = Trainer(**transformed)
    model = trainer.outputs["model"]
    evaluator = Evaluator(examples, model, module_file, "eval", eval_args)
    infra_validator = InfraValidator(model, examples, "eval", num_requests)
    pusher = Pusher(
        model,
        evaluator.outputs["blessing"],
        infra_validator.outputs["blessing"],
        push_destination,
    )
    steps = [
        statistics_gen,
        schema_gen,
        validator,
        transform,
        tuner,
        trainer,
        evaluator,
        infra_validator,
        pusher,
    ]
    return [step for step in steps if step is not None]
