"""Interleaved timing: every candidate meets the same noise."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def interleaved_medians(
    steps: Mapping[Name, Callable[[], None]], rounds: int, calls: int
) -> dict[Name, float]:
    """Times functions in turns and takes medians over the rounds.

    Args:
        steps: functions by name. Each blocks until its work is done.
        rounds: int. How often each function gets its turn.
        calls: int. Calls per turn; one more, untimed, goes before them.

    Returns:
        Median milliseconds per call, by name.
    """
    times: dict[Name, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            for _ in range(calls):
                step()
            times[name].append((time.perf_counter() - start) / calls * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}
