"""What all aggregators share: state, and a step that survives bad numbers."""

import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import keras
import tensorflow as tf


class Aggregator:
    """Turns the gradients of several tasks into one update direction.

    Subclass one of the three kinds, `LossWeighting`, `GramianWeighting` or
    `RowAggregator`, and write its hook. The kinds take care of dtypes, of absent
    tasks and of numbers that are not finite, so a hook always sees finite input.

    State lives in variables made by `add_variable` in the hook `_build`. A hook
    assigns to them freely: the step puts the old value back for absent tasks, and
    everywhere if its input or its result is not finite.

    Attributes:
        kind: `"loss"`, `"gramian"` or `"rows"`: what the method needs to see.
        uses_losses: bool. Whether the method reads the values of the losses.
        fallback_count: int32 `keras.Variable`. Steps whose input was finite but
            whose result was not, so that the mean over present tasks was taken.
    """

    kind: ClassVar[Literal["loss", "gramian", "rows"]]
    uses_losses: ClassVar[bool] = False

    def __init__(self) -> None:
        self._num_tasks: int | None = None
        self._variables: list[keras.Variable] = []
        self._task_state: list[tuple[keras.Variable, int]] = []

    @property
    def num_tasks(self) -> int | None:
        """Number of tasks, None before `build`."""
        return self._num_tasks

    @property
    def built(self) -> bool:
        """Whether the state exists."""
        return self._num_tasks is not None

    @property
    def variables(self) -> list[keras.Variable]:
        """All state, in creation order, for checkpoints and replicas."""
        return list(self._variables)

    def build(self, num_tasks: int) -> None:
        """Creates the state. Does nothing when called again.

        Args:
            num_tasks: int, at least 1.

        Raises:
            ValueError: if `num_tasks` is less than 1, does not suit the constructor
                arguments, or is not the number of an earlier call.
        """
        if self.built:
            if num_tasks != self._num_tasks:
                raise ValueError(
                    "`num_tasks` must stay the same once the aggregator is built. "
                    f"Received: num_tasks={num_tasks}, built with {self._num_tasks}. "
                    "Make a new aggregator for another model."
                )
            return
        if num_tasks < 1:
            raise ValueError(
                f"`num_tasks` must be at least 1. Received: num_tasks={num_tasks}."
            )
        self._check_num_tasks(num_tasks)
        # The first use may be inside a `tf.function`.
        with tf.init_scope():
            self.fallback_count = self._make_variable("fallback_count", (), "int32")
            self._build(num_tasks)
        self._num_tasks = num_tasks

    def add_variable(
        self,
        name: str,
        shape: Sequence[int] = (),
        dtype: str = "float64",
        initializer: str | keras.Initializer = "zeros",
        task_axes: int = 0,
    ) -> keras.Variable:
        """Adds a state variable. Called from `_build`.

        Args:
            name: str.
            shape: full shape, task axes included.
            dtype: str. The small problems are computed in float64, and so their
                state is kept.
            initializer: Keras initializer.
            task_axes: int. How many of the leading axes run over tasks: 0 for state
                of the whole, 1 for `(num_tasks, ...)`, 2 for `(num_tasks, num_tasks,
                ...)`. Entries of absent tasks keep their value.

        Returns:
            `keras.Variable`, not trainable.
        """
        variable = self._make_variable(name, shape, dtype, initializer)
        self._task_state.append((variable, task_axes))
        return variable

    def add_seed_generator(self, seed: int) -> keras.random.SeedGenerator:
        """Adds a source of random seeds to the state. Called from `_build`."""
        generator = keras.random.SeedGenerator(seed)
        self._variables.append(generator.state)
        self._task_state.append((generator.state, 0))
        return generator

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, without the state."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes an unbuilt aggregator from `get_config()`."""
        return cls(**config)

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian. Builds the aggregator on first use.

        Args:
            jacobian: float tensor of shape `(num_tasks, num_params)`.
            losses: float tensor of shape `(num_tasks,)`. Needed by methods with
                `uses_losses`.
            present: bool tensor of shape `(num_tasks,)`. False for a task without
                known label in this batch, which is left out. None: all present.

        Returns:
            Tensor of shape `(num_params,)` in the dtype of `jacobian`.
        """
        raise NotImplementedError

    def _check_num_tasks(self, num_tasks: int) -> None:
        """Hook: raises if `num_tasks` does not suit the constructor arguments."""

    def _build(self, num_tasks: int) -> None:
        """Hook: creates the state of the method."""

    def _make_variable(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        initializer: str | keras.Initializer = "zeros",
    ) -> keras.Variable:
        variable = keras.Variable(
            initializer,
            shape=tuple(shape),
            dtype=dtype,
            trainable=False,
            autocast=False,
            # Replicas see the same rows and so compute the same state.
            aggregation="only_first_replica",
            name=name,
        )
        self._variables.append(variable)
        return variable

    def _task_inputs(
        self,
        num_tasks: int | None,
        losses: tf.Tensor | None,
        present: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Builds on first use, and fills in what the caller left out.

        Returns:
            `losses`, float64 `(num_tasks,)`, 1 where absent or not needed; and
            `present`, bool `(num_tasks,)`.
        """
        if num_tasks is None:
            raise ValueError(
                "The number of tasks must be known when the step is traced. "
                "Received a first axis of unknown size. Use `tf.ensure_shape`."
            )
        self.build(num_tasks)
        if losses is None and self.uses_losses:
            raise ValueError(
                f"`losses` must be given to {type(self).__name__}, which reads their "
                "values. Received: losses=None."
            )
        all_tasks = tf.fill([num_tasks], True)
        present = all_tasks if present is None else tf.cast(present, tf.bool)
        losses = tf.ones([num_tasks]) if losses is None else losses
        for name, vector in (("losses", losses), ("present", present)):
            shape = tf.convert_to_tensor(vector).shape
            if not shape.is_compatible_with([num_tasks]):
                raise ValueError(
                    f"`{name}` must have shape `(num_tasks,)` = ({num_tasks},). "
                    f"Received: {name} of shape {tuple(shape)}."
                )
        losses = tf.where(present, tf.cast(losses, tf.float64), 1.0)
        return losses, present

    def _attempt(
        self,
        hook: Callable[[], list[tf.Tensor]],
        fallback: Sequence[tf.Tensor],
        usable: tf.Tensor,
        present: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Runs a hook and undoes what it did to the state where it must not count.

        Args:
            hook: function without arguments that may assign to the state.
            fallback: tensors to return where the results are not finite.
            usable: bool scalar. Whether the input of the hook was finite. If not,
                the results are NaN, for the caller to skip the update.
            present: bool tensor `(num_tasks,)`.

        Returns:
            List of tensors like `fallback`.
        """
        before = [tf.identity(variable.value) for variable, _ in self._task_state]
        results = hook()
        solved = all_finite(results)
        for (variable, task_axes), old in zip(self._task_state, before, strict=True):
            keep = usable & solved & task_mask(present, task_axes, old.shape.rank)
            variable.assign(tf.where(keep, variable.value, old))
        self.fallback_count.assign_add(tf.cast(usable & ~solved, tf.int32))
        return [
            tf.where(usable, tf.where(solved, result, other), float("nan"))
            for result, other in zip(results, fallback, strict=True)
        ]


def as_rows(tensor: tf.Tensor) -> tf.Tensor:
    """Tensor in the dtype of inner products: float64 stays, the rest is float32."""
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Bool scalar: whether no entry of any tensor is NaN or infinite."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tensors])


def fixed_seed(seed: int | None) -> int:
    """The seed, or one drawn now, so that a config always repeats the run."""
    return random.randrange(2**31) if seed is None else seed


def task_mask(present: tf.Tensor, task_axes: int, rank: int) -> tf.Tensor:
    """Where all tasks of an entry are present, broadcastable to rank `rank`."""
    mask = tf.constant(True)
    for axis in range(task_axes):
        mask &= tf.reshape(present, [-1 if i == axis else 1 for i in range(rank)])
    return mask
