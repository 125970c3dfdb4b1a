"""Saving and loading of all that training needs to go on."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl.aggregators import RowAggregator

# Keys of what is saved beside the weights.
_STATE_PREFIXES = ("seed-", "aggregator-")


class ResumableModel(keras.Model):
    """A Keras model that saves its aggregator and seeds beside its weights."""

    aggregator: Any
    _compile_arguments: dict[str, Any]

    def get_compile_config(self) -> dict[str, Any] | None:
        """Arguments of `compile`, for saving."""
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "aggregator": serialize(self.aggregator),
            **self._compile_arguments,
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compiles as a saved model was compiled."""
        config = dict(config)
        revive = keras.saving.deserialize_keras_object
        config["optimizer"] = revive(config["optimizer"])
        config["aggregator"] = revive(config["aggregator"])
        self.compile(**config)

    def save_own_variables(self, store: Any) -> None:
        """Saves, beside the weights, the state of the aggregator and all seeds."""
        super().save_own_variables(store)
        for name, variable in self._state().items():
            store[name] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        """Inverse of `save_own_variables`."""
        saved = {key: store[key] for key in store.keys()}  # noqa: SIM118
        own = {k: v for k, v in saved.items() if not k.startswith(_STATE_PREFIXES)}
        super().load_own_variables(own)
        state = self._state()
        for name, variable in state.items():
            if name in saved:
                variable.assign(saved[name])
        if isinstance(self.aggregator, RowAggregator):
            prefix = self._aggregator_prefix()
            self.aggregator.restore_rows(
                {
                    name.removeprefix(prefix): value[...]
                    for name, value in saved.items()
                    if name.startswith(prefix) and name not in state
                }
            )

    def copy_state(self, other: "ResumableModel") -> None:
        """Takes over weights, optimizer, aggregator and seeds of another model.

        A compiled train step goes on from there, without being compiled again.

        Args:
            other: built and compiled with the same arguments.

        Raises:
            ValueError: if it holds other variables.
        """
        pairs = list(zip(self._resumable(), other._resumable(), strict=True))
        for mine, theirs in pairs:
            mine.assign(theirs)

    def _resumable(self) -> list[keras.Variable]:
        slots = self.optimizer.variables if self.compiled else []
        return [*self.weights, *slots, *self._state().values()]

    def _state(self) -> dict[str, keras.Variable]:
        known = {id(v) for v in [*self.weights, *self.metrics_variables]}
        if self.compiled:
            known |= {id(v) for v in self.optimizer.variables}
        seeds = [v for v in self.variables if id(v) not in known]
        state = {f"seed-{i}": v for i, v in enumerate(seeds)}
        if self.aggregator is not None:
            prefix = self._aggregator_prefix()
            named = self.aggregator.named_variables()
            state |= {f"{prefix}{name}": v for name, v in named.items()}
        return state

    def _aggregator_prefix(self) -> str:
        # By class: weights may be loaded into a model with another aggregator, whose
        # state then starts fresh.
        return f"aggregator-{type(self.aggregator).__name__}-"
