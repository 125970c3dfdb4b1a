"""Checks of constructor arguments that several methods have."""

import math


def check_positive(name: str, value: float) -> float:
    """Returns `value`, or raises ValueError if it is not finite and positive."""
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(
            f"`{name}` must be finite and positive. Received: {name}={value}."
        )
    return float(value)


def check_not_negative(name: str, value: float) -> float:
    """Returns `value`, or raises ValueError if it is not finite or negative."""
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError(
            f"`{name}` must be finite and not negative. Received: {name}={value}."
        )
    return float(value)
