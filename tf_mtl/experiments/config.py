"""TrainConfig: all choices of a training run."""

import dataclasses
import inspect
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from tf_mtl.names import unknown_name_error
from tf_mtl.options import option

# Where they are: options need their names, but no TensorFlow.
OPTIMIZERS: Mapping[str, str] = MappingProxyType(
    {
        "lazy_adam": "tf_mtl.optimizers:LazyAdam",
        "lazy_adagrad": "tf_mtl.optimizers:LazyAdagrad",
        "lazy_sgd": "tf_mtl.optimizers:LazySGD",
        "ada_task": "tf_mtl.optimizers:AdaTask",
        "adam": "keras.optimizers:Adam",
        "adagrad": "keras.optimizers:Adagrad",
        "sgd": "keras.optimizers:SGD",
    }
)
SCHEDULES = ("constant", "cosine")
# Choices that mean something on one machine alone.
FOLDERS = ("manual_dir", "data_dir")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """All choices of a training run; the same choices give the same numbers.

    The command line makes one option of each field, with the text beside it.

    Raises:
        ValueError: if a name is unknown or a number is outside its range. Names and
            arguments are checked here, before any data is read.
    """

    dataset: str = option(
        "census_income", "Data set by name; `tf-mtl data describe --help` lists them."
    )
    manual_dir: str | None = option(
        None, "Folder with the source files of the data set, where it has some."
    )
    data_dir: str | None = option(
        None, "Folder for prepared data; without it, that of TensorFlow Datasets."
    )
    model: str = option("mmoe", "Architecture: mmoe, shared_bottom, single_task ...")
    model_args: dict[str, Any] = option(
        {}, 'Arguments of the architecture, as JSON: {"num_experts": 8}.'
    )
    aggregator: str = option(
        "gradcraft", "How task gradients become one update: gradcraft, pcgrad, ew ..."
    )
    aggregator_args: dict[str, Any] = option(
        {}, 'Arguments of the aggregator, as JSON: {"tau": 0.5}.'
    )
    surface: str = option(
        "parameters",
        "Where task gradients are compared: `parameters` (exact) or `representation` "
        "(one backward pass below the experts: faster).",
    )
    optimizer: str = option("lazy_adam", f"One of: {', '.join(OPTIMIZERS)}.")
    learning_rate: float = option(1e-3, "Learning rate, at the start.")
    schedule: str = option(
        "cosine", "Learning rate over the steps: `cosine` (down to 0) or `constant`."
    )
    epochs: int = option(10, "Passes over the training rows, at most.")
    batch_size: int = option(256, "Rows per step.")
    embedding_dim: int = option(8, "Width of the embedding of each categorical.")
    dropout: float = option(0.3, "Share of hidden units dropped in training.")
    validation_fraction: float = option(
        0.1, "Share of the training rows that is held out to choose the best epoch."
    )
    patience: int = option(
        3, "Epochs without a better validation score before training stops; 0: never."
    )
    monitor_every: int = option(
        0, "Steps between two looks at the angle of the task gradients; 0: never."
    )
    calibration: str | None = option(
        None,
        "How probabilities of the export are calibrated on the rows held out: "
        "`isotonic` or `platt`; without it, not at all.",
    )
    score: str | None = option(
        None,
        "Formula of one more output of the export, such as `click * (1 + 2 * like)`.",
    )
    seed: int = option(0, "Seed of weights, dropout, row order and validation rows.")
    jit: bool = option(True, "Compile the train step with XLA.")

    def __post_init__(self) -> None:
        from tf_mtl import aggregators, datasets, models
        from tf_mtl.export.calibration import METHODS
        from tf_mtl.export.score import Score
        from tf_mtl.models.training import SURFACES

        _check_name("dataset", self.dataset, datasets.names())
        _check_name("model", self.model, models.names())
        _check_name("aggregator", self.aggregator, aggregators.names())
        _check_name("surface", self.surface, SURFACES)
        _check_name("optimizer", self.optimizer, OPTIMIZERS)
        _check_name("schedule", self.schedule, SCHEDULES)
        if self.calibration is not None:
            _check_name("calibration", self.calibration, METHODS)
        if self.score is not None:
            Score(self.score)
        _check_arguments("model_args", models.get(self.model), self.model_args)
        aggregator = type(aggregators.get(self.aggregator))
        _check_arguments("aggregator_args", aggregator, self.aggregator_args)
        aggregators.get(self.aggregator, **self.aggregator_args)
        rules = (
            (self.learning_rate > 0, "`learning_rate` must be positive"),
            (self.epochs >= 1, "`epochs` must be at least 1"),
            (self.batch_size >= 1, "`batch_size` must be at least 1"),
            (self.embedding_dim >= 1, "`embedding_dim` must be at least 1"),
            (0 <= self.dropout < 1, "`dropout` must be in [0, 1)"),
            (
                0 < self.validation_fraction < 1,
                "`validation_fraction` must be between 0 and 1",
            ),
            (self.patience >= 0, "`patience` must not be negative"),
            (self.monitor_every >= 0, "`monitor_every` must not be negative"),
            (self.seed >= 0, "`seed` must not be negative"),
        )
        for holds, rule in rules:
            if not holds:
                name = rule.split("`")[1]
                raise ValueError(f"{rule}. Received: {name}={getattr(self, name)}.")


def _check_name(argument: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise unknown_name_error(argument, name, known)


def _check_arguments(argument: str, cls: type, given: Mapping[str, Any]) -> None:
    # Classes pass arguments on to those of this package below them, as **kwargs.
    ours = [base for base in cls.__mro__ if base.__module__.startswith("tf_mtl.")]
    known = {name for base in ours for name in inspect.signature(base).parameters}
    known -= {"features", "tasks", "args", "kwargs"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(
            f"`{argument}` must name arguments of {cls.__name__}: {sorted(known)}. "
            f"Received: {unknown}."
        )
