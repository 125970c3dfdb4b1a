"""What `compile` checks: whether model, optimizer, aggregator and surface fit."""

from typing import Any

from tf_mtl.aggregators import Aggregator
from tf_mtl.models.task_model import TaskModel
from tf_mtl.optimizers import TaskwiseOptimizer


def check_compile(
    model: TaskModel, optimizer: Any, aggregator: Aggregator, surface: str
) -> None:
    """Checks that what a model is compiled with goes together.

    Args:
        model: `TaskModel`.
        optimizer: Keras optimizer, perhaps one around another.
        aggregator: `Aggregator`.
        surface: `"parameters"` or `"representation"`.

    Raises:
        ValueError: if it does not.
    """
    if surface == "representation":
        _check_representation(model, aggregator)
    if aggregator.kind != "loss":
        _check_accumulation(optimizer, aggregator)
    taskwise = taskwise_optimizer(optimizer)
    if taskwise is not None:
        _check_taskwise(taskwise, aggregator, surface)


def taskwise_optimizer(optimizer: Any) -> TaskwiseOptimizer | None:
    """The optimizer, or the one inside it, if it remembers tasks apart; else None."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner if isinstance(inner, TaskwiseOptimizer) else None


def _check_representation(model: TaskModel, aggregator: Aggregator) -> None:
    if aggregator.kind == "rows":
        raise ValueError(
            f"`surface='representation'` gives weights, but the aggregator "
            f"{type(aggregator).__name__} edits rows. Pass surface='parameters'."
        )
    if not model.has_representation:
        raise ValueError(
            "`surface='representation'` needs to know the shared representation. "
            f"Received: a {type(model).__name__} without one. "
            "Pass MultiTask(..., representation='name of a layer'), or use "
            "surface='parameters'."
        )


def _check_accumulation(optimizer: Any, aggregator: Aggregator) -> None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for each in (optimizer, inner):
        steps = getattr(each, "gradient_accumulation_steps", None)
        if steps:
            raise ValueError(
                "`gradient_accumulation_steps` of the optimizer adds up gradients "
                "after the aggregation, but a conflict is a property of the whole "
                f"batch. Received: gradient_accumulation_steps={steps} with the "
                f"aggregator {type(aggregator).__name__}. Use a larger batch."
            )


def _check_taskwise(
    optimizer: TaskwiseOptimizer, aggregator: Aggregator, surface: str
) -> None:
    name = type(optimizer).__name__
    if aggregator.kind != "loss":
        raise ValueError(
            f"`aggregator` must be of kind 'loss' with {name}, which takes each task's "
            f"gradient itself. Received: {type(aggregator).__name__} of kind "
            f"{aggregator.kind!r}. Pass aggregator='ew', or another optimizer."
        )
    if surface != "parameters":
        raise ValueError(
            f"`surface` must be 'parameters' with {name}, which remembers the gradient "
            f"of each parameter. Received: surface={surface!r}."
        )
