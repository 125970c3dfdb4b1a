"""Values of a config, some of them replaced."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from tf_mtl.experiments.config import TrainConfig
from tf_mtl.names import unknown_name_error

# Fields of `TrainConfig` that are the business of the pipeline.
_ELSEWHERE = ("dataset", "manual_dir", "data_dir", "monitor_every")
# Entries that a value may have beside those that it has. What `run_fn` of the examples
# takes, for one, is a `TrainConfig`.
_TRAINING = tuple(
    field.name
    for field in dataclasses.fields(TrainConfig)
    if field.name not in _ELSEWHERE
)
_KNOWN = {
    "custom_config": _TRAINING,
    "tuner_options": ("grid", "num_trials", "seed"),
    "grid": _TRAINING,
}


def replace_values(
    values: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Replaces values, also single entries of a value that is a dict.

    Args:
        values: all values by name.
        changes: new values; `{"custom_config": {"epochs": 2}}` leaves the rest of
            `custom_config` as it is.

    Returns:
        A new dict.

    Raises:
        ValueError: if `changes` has a name that `values` does not have, a value that is
            no dict where `values` has one, or an entry that nothing reads.
    """
    changed = dict(values)
    for name, value in changes.items():
        _check_name("config", name, values)
        if isinstance(values[name], dict):
            _check_entries(name, value, _KNOWN.get(name, values[name]))
            value = {**values[name], **value}
        elif name in _KNOWN and value is not None:
            _check_entries(name, value, _KNOWN[name])
        changed[name] = value
    return changed


def _check_entries(name: str, value: Any, known: Collection[str]) -> None:
    if not isinstance(value, dict):
        raise ValueError(
            f"`{name}` must be a JSON object with entries of {list(known)}. Received: "
            f"{name}={value!r}."
        )
    for entry, each in value.items():
        _check_name(name, entry, known)
        if entry in _KNOWN:
            _check_entries(entry, each, _KNOWN[entry])


def _check_name(argument: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise unknown_name_error(argument, name, known)
