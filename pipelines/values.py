"""Values of a config, some of them replaced."""

from collections.abc import Mapping
from typing import Any

from tf_mtl.names import unknown_name_error


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
        ValueError: if `changes` has a name that `values` does not have.
    """
    changed = dict(values)
    for name, value in changes.items():
        if name not in values:
            raise unknown_name_error("config", name, list(values))
        is_part = isinstance(value, dict) and isinstance(values[name], dict)
        changed[name] = {**values[name], **value} if is_part else value
    return changed
