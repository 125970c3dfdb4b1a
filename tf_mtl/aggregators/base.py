"""What all aggregators share: state, and a step that survives bad numbers."""

import abc
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import keras
import tensorflow as tf

from tf_mtl.gradients import all_finite


class Aggregator(abc.ABC):
    """Turns the gradients of several tasks into one update direction.

    Subclass one of the three kinds, `LossWeighting`, `GramianWeighting` or
    `RowAggregator`, and write its hook. The kinds take care of dtypes, of absent
    tasks and of numbers that are not finite, so a hook always sees finite input.

    State lives in variables made by `add_variable` in the hook `_build`. A hook
    assigns to them freely: the step puts the old value back for absent tasks, and
    everywhere if its input or its result is not finite, but for those that are made
    with `put_back=False`.

    Args:
        preference: sequence of `num_tasks` positive floats, the share of each task in
            the mean that the method starts from or falls back to; only their ratios
            matter. None: equal shares.

    Attributes:
        kind: `"loss"`, `"gramian"` or `"rows"`: what the method needs to see.
        uses_losses: bool. Whether the method reads the values of the losses.
        uses_preference: bool. Whether the method takes a `preference`.
        fallback_count: int32 `keras.Variable`. Steps whose input was finite but
            whose result was not, so that the mean over present tasks was taken.

    Raises:
        ValueError: if an entry of `preference` is not positive, or the method takes
            none; in `build` if there is not one for each task.
    """

    kind: ClassVar[Literal["loss", "gramian", "rows"]]
    uses_losses: bool = False
    uses_preference: ClassVar[bool] = False

    def __init__(self, *, preference: Sequence[float] | None = None) -> None:
        self.preference = self._check_preference(preference)
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
        return list(self.named_variables().values())

    def named_variables(self) -> dict[str, keras.Variable]:
        """All state by name, in creation order, for saved files."""
        return {variable.name: variable for variable in self._variables}

    def fallbacks(self) -> tf.Tensor:
        """Number of steps that took the mean for want of a result, int32 scalar."""
        return tf.convert_to_tensor(self.fallback_count)

    @property
    def may_fall_back(self) -> bool:
        """Whether a step can be without a result: not where weights are constant."""
        return self.kind != "loss" or self.needs_losses

    @property
    def needs_losses(self) -> bool:
        """Whether a call must give the values of the losses."""
        return self.uses_losses

    @property
    def step_variables(self) -> list[keras.Variable]:
        """The state that a step which is undone must put back."""
        return [variable for variable, _ in self._task_state]

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
        if self.preference is not None and len(self.preference) != num_tasks:
            raise ValueError(
                f"`preference` must hold one float for each of {num_tasks} tasks. "
                f"Received: preference={self.preference}."
            )
        self._check_num_tasks(num_tasks)
        # The first use may be inside a `tf.function`.
        with tf.init_scope():
            self.fallback_count = self._make_variable("fallback_count", (), "int32")
            self._build_options(num_tasks)
            self._build(num_tasks)
        self._num_tasks = num_tasks

    def add_variable(
        self,
        name: str,
        shape: Sequence[int] = (),
        dtype: str = "float64",
        initializer: str | keras.Initializer = "zeros",
        task_axes: int = 0,
        put_back: bool = True,
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
            put_back: bool. Whether it gets its value back where a step does not count.
                False for what is large and has no task axes; the method must then see
                to it itself that no such step spoils it.

        Returns:
            `keras.Variable`, not trainable.
        """
        if task_axes and not put_back:
            raise ValueError(
                "`put_back` must be True for a variable with task axes. Received: "
                f"put_back=False, task_axes={task_axes}."
            )
        variable = self._make_variable(name, shape, dtype, initializer)
        if put_back:
            self._task_state.append((variable, task_axes))
        return variable

    def add_seed_generator(self, seed: int) -> keras.random.SeedGenerator:
        """Adds a source of random seeds to the state. Called from `_build`."""
        generator = keras.random.SeedGenerator(seed)
        self._keep(generator.state)
        self._task_state.append((generator.state, 0))
        return generator

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, without the state."""
        return {"preference": self.preference} if self.uses_preference else {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes an unbuilt aggregator from `get_config()`."""
        return cls(**config)

    @abc.abstractmethod
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

    @property
    def observes_update(self) -> bool:
        """Whether the method wants to see what an update did, see `observe`.

        It costs a forward pass more in steps where it does.
        """
        return type(self)._observe is not Aggregator._observe

    def updated_losses(self, evaluate: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Losses for `observe`, evaluated in steps alone whose update is looked at.

        Args:
            evaluate: function without arguments that gives the losses of the batch
                after its update, a float tensor of shape `(num_tasks,)`.

        Returns:
            float tensor of shape `(num_tasks,)`: what `evaluate` gave, or NaN, which
            `observe` ignores.
        """
        return evaluate()

    def observe(self, losses: tf.Tensor, present: tf.Tensor | None = None) -> None:
        """Tells a method with `observes_update` what the update did.

        Args:
            losses: float tensor of shape `(num_tasks,)`, of the batch of the last step,
                after its update; see `updated_losses`. Ignored if not finite.
            present: bool tensor of shape `(num_tasks,)`, as in that step.
        """
        losses = tf.convert_to_tensor(losses)
        losses, present = self._task_inputs(losses.shape[0], losses, present)
        usable = all_finite([losses])
        losses = tf.where(usable, losses, 1.0)

        def hook() -> list[tf.Tensor]:
            self._observe(losses, present)
            return []

        self._guard(hook, usable, present)

    def end_epoch(self) -> None:  # noqa: B027 (optional)
        """Tells the method that an epoch is over; `fit` calls it, outside the step."""

    def _observe(self, losses: tf.Tensor, present: tf.Tensor) -> None:  # noqa: B027 (optional)
        """Hook of `observe`: float64 `losses`, 1 where absent, and the bool mask.

        To write it is to have `observes_update`.
        """

    @abc.abstractmethod
    def loss_weights(
        self, losses: tf.Tensor, present: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Factors of the losses before their gradients are taken. Advances the state.

        Args:
            losses: float tensor of shape `(num_tasks,)`.
            present: bool tensor of shape `(num_tasks,)`. None: all present.

        Returns:
            Tensor of shape `(num_tasks,)` in the dtype of `losses`.
        """

    def _check_num_tasks(self, num_tasks: int) -> None:  # noqa: B027 (optional)
        """Hook: raises if `num_tasks` does not suit the constructor arguments."""

    def _build_options(self, num_tasks: int) -> None:  # noqa: B027 (optional)
        """Creates the state of the options that all methods of a kind have."""

    def _build(self, num_tasks: int) -> None:  # noqa: B027 (optional)
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
        self._keep(variable)
        return variable

    def _keep(self, variable: keras.Variable) -> None:
        if variable.name in (kept.name for kept in self._variables):
            raise ValueError(
                f"`name` of a state variable must be unique. Received: "
                f"name={variable.name!r}, which {type(self).__name__} has."
            )
        self._variables.append(variable)

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
        if losses is None and self.needs_losses:
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

    def _check_preference(
        self, preference: Sequence[float] | None
    ) -> list[float] | None:
        if preference is None:
            return None
        if not self.uses_preference:
            raise ValueError(
                f"{type(self).__name__} takes no `preference`. Received: preference="
                f"{preference}. Use `Task(weight=...)`, which scales a loss."
            )
        preference = [float(share) for share in preference]
        if not all(math.isfinite(share) and share > 0 for share in preference):
            raise ValueError(
                "`preference` must be finite and positive. "
                f"Received: preference={preference}."
            )
        return preference

    def _shares(self, present: tf.Tensor) -> tf.Tensor:
        """Share of each task in the mean, float64 `(num_tasks,)`, 0 where absent.

        They sum to 1 over present tasks.
        """
        shares = tf.cast(present, tf.float64)
        if self.preference is not None:
            shares *= tf.constant(self.preference, tf.float64)
        return tf.math.divide_no_nan(shares, tf.reduce_sum(shares))

    def _guard(
        self, hook: Callable[[], list[tf.Tensor]], usable: tf.Tensor, present: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Runs a hook and undoes what it did to the state where it must not count.

        Args:
            hook: function without arguments that may assign to the state.
            usable: bool scalar. Whether the input of the hook was finite.
            present: bool tensor `(num_tasks,)`.

        Returns:
            What the hook returned, and a bool scalar: whether the input, the results
            and the new state are all finite. If only the input is, it is counted.
        """
        variables = [variable for variable, _ in self._task_state]
        before = [tf.identity(variable.value) for variable in variables]
        results = hook()
        solved = all_finite([*results, *(variable.value for variable in variables)])
        for (variable, task_axes), old in zip(self._task_state, before, strict=True):
            keep = usable & solved & task_mask(present, task_axes, old.shape.rank)
            variable.assign(tf.where(keep, variable.value, old))
        self.fallback_count.assign_add(tf.cast(usable & ~solved, tf.int32))
        return results, usable & solved


def fixed_seed(seed: int | None) -> int:
    """The seed, or one drawn now, so that a config always repeats the run."""
    return random.randrange(2**31) if seed is None else seed


def task_mask(present: tf.Tensor, task_axes: int, rank: int) -> tf.Tensor:
    """Where all tasks of an entry are present, broadcastable to rank `rank`."""
    mask = tf.constant(True)
    for axis in range(task_axes):
        mask &= tf.reshape(present, [-1 if i == axis else 1 for i in range(rank)])
    return mask
