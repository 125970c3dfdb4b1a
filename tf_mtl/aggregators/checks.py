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


def check_count(name: str, value: int) -> int:
    """Returns a number of things, or raises ValueError if it is less than 1."""
    if value != int(value) or value < 1:
        raise ValueError(
            f"`{name}` must be an int, at least 1. Received: {name}={value}."
        )
    return int(value)
