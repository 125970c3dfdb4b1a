"""The ranking model that step benchmarks run: ours, and the same in plain Keras."""

import dataclasses
import inspect
import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import features, models
from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.option_text import read_named
from tf_mtl.tasks import Task

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]

# Two ids are reserved, for missing and for unknown values.
_MIN_ROWS = 3


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model with experts, its tasks and its batches.

    Args:
        num_tasks: int.
        vocabulary: int. Rows of all embedding tables together.
        batch_size: int.
        sizes: sizes of the model.

    Raises:
        ValueError: if `vocabulary` is too small for the tables of all features.
    """

    num_tasks: int
    vocabulary: int
    batch_size: int = 2048
    sizes: Sizes = Sizes()

    def __post_init__(self) -> None:
        if self.rows_per_table < _MIN_ROWS:
            count = self.sizes.num_features
            raise ValueError(
                f"`vocabulary` must be at least {_MIN_ROWS * count}: {_MIN_ROWS} rows "
                f"for each of {count} features. Received: "
                f"vocabulary={self.vocabulary}. Give more rows or a smaller "
                "`num_features`."
            )

    @property
    def rows_per_table(self) -> int:
        """Rows of one embedding table."""
        return self.vocabulary // self.sizes.num_features

    def model(self, text: str = "mmoe") -> models.MultiTaskModel:
        """One of our models, not compiled.

        Args:
            text: an architecture, with arguments if need be: `drgrad` or
                `drgrad:personal_gate=false`. It takes those sizes that it has arguments
                for. Where primary tasks and personal features matter, these are the
                first task and the first feature.

        Raises:
            ValueError: if the architecture is unknown.
        """
        name, options = read_named(text)
        cls = models.get(name)
        sizes = {
            "num_experts": self.sizes.num_experts,
            "expert_units": self.sizes.expert_units,
            "bottom_units": self.sizes.expert_units,
            "units": self.sizes.expert_units,
            "tower_units": self.sizes.tower_units,
        }
        # A class that passes further arguments on takes those of its base, too.
        known = {
            argument
            for base in cls.__mro__
            if issubclass(base, models.MultiTaskModel)
            for argument in inspect.signature(base.__init__).parameters
        }
        sizes = {size: value for size, value in sizes.items() if size in known}
        return cls(self._features(), self._tasks(), **{**sizes, **options})

    def check(self, texts: Iterable[str]) -> None:
        """Builds models with the smallest tables: a wrong one fails before long work.

        Args:
            texts: architectures, see `model`.

        Raises:
            ValueError: if one is unknown or cannot have these sizes.
        """
        rows = _MIN_ROWS * self.sizes.num_features
        smallest = dataclasses.replace(self, vocabulary=rows)
        for text in texts:
            smallest.model(text)

    def shared_bottom(self, parameters: int) -> models.SharedBottom:
        """A Shared-Bottom model of about so many parameters, not compiled.

        Args:
            parameters: int, trainable ones beside the embedding tables.
        """

        def make(width: int) -> models.SharedBottom:
            return models.SharedBottom(
                self._features(),
                self._tasks(),
                bottom_units=(2 * width, width),
                tower_units=self.sizes.tower_units,
            )

        # Parameters are quadratic in the width: three models tell all.
        sizes = [self.parameters(make(width)) for width in (1, 2, 3)]
        bend = (sizes[2] - 2 * sizes[1] + sizes[0]) / 2
        slope = sizes[1] - sizes[0] - 3 * bend
        rest = sizes[0] - bend - slope - parameters
        width = (math.sqrt(max(slope**2 - 4 * bend * rest, 0.0)) - slope) / (2 * bend)
        return make(max(round(width), 1))

    def parameters(self, model: keras.Model) -> int:
        """Number of trainable parameters beside the embedding tables."""
        if isinstance(model, models.MultiTaskModel):
            return model.count_parameters()
        rows = self.sizes.num_features * self.rows_per_table
        tables = rows * self.sizes.embedding_dim
        return sum(math.prod(v.shape) for v in model.trainable_variables) - tables

    def plain_keras_model(self) -> keras.Model:
        """The same network of Keras layers, compiled with Keras' Adam and XLA."""
        layers, sizes = keras.layers, self.sizes
        inputs = {
            name: keras.Input((), dtype="int32", name=name)
            for name in self._feature_names()
        }
        embedded = layers.Concatenate()(
            [
                layers.Embedding(self.rows_per_table, sizes.embedding_dim)(ids)
                for ids in inputs.values()
            ]
        )
        experts = []
        for _ in range(sizes.num_experts):
            hidden = embedded
            for width in sizes.expert_units:
                hidden = layers.Dense(width, activation="relu")(hidden)
            experts.append(hidden)
        stacked = keras.ops.stack(experts, axis=1)
        outputs = {}
        for name in self._task_names():
            gate = layers.Dense(sizes.num_experts, "softmax", use_bias=False)(embedded)
            hidden = keras.ops.einsum("be,beh->bh", gate, stacked)
            for width in sizes.tower_units:
                hidden = layers.Dense(width, activation="relu")(hidden)
            outputs[name] = layers.Dense(1, name=name)(hidden)
        model = keras.Model(inputs, outputs)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(
            keras.optimizers.Adam(1e-3),
            loss=dict.fromkeys(outputs, loss),
            jit_compile=True,
        )
        return model

    def batch(self, seed: int = 0) -> Batch:
        """Random ids and labels."""
        rng = np.random.default_rng(seed)
        ids = {
            name: tf.constant(
                rng.integers(0, self.rows_per_table, self.batch_size), tf.int32
            )
            for name in self._feature_names()
        }
        labels = {
            name: tf.constant(rng.random(self.batch_size) < 0.3, tf.float32)
            for name in self._task_names()
        }
        return ids, labels

    def _features(self) -> list[features.Feature]:
        return [
            features.IntegerRange(
                name,
                num_values=self.rows_per_table - 2,
                embedding_dim=self.sizes.embedding_dim,
                personal=i == 0,
            )
            for i, name in enumerate(self._feature_names())
        ]

    def _tasks(self) -> list[Task]:
        return [
            Task(name, metrics=[], primary=i == 0)
            for i, name in enumerate(self._task_names())
        ]

    def _feature_names(self) -> list[str]:
        return [f"id_{i}" for i in range(self.sizes.num_features)]

    def _task_names(self) -> list[str]:
        return [f"task_{i}" for i in range(self.num_tasks)]
