"""Interleaved timing: every candidate meets the same noise."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def interleaved_times(
    steps: Mapping[Name, Callable[[], None]], rounds: int, calls: int
) -> dict[Name, list[float]]:
    """Times functions in turns.

    Args:
        steps: functions by name. Each blocks until its work is done.
        rounds: int. How often each function gets its turn.
        calls: int. Calls per turn; one more, untimed, goes before them.

    Returns:
        Milliseconds of each call, by name.
    """
    times: dict[Name, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            for _ in range(calls):
                start = time.perf_counter()
                step()
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def interleaved_medians(
    steps: Mapping[Name, Callable[[], None]], rounds: int, calls: int
) -> dict[Name, float]:
    """Median over the turns of the mean milliseconds of a call, by name.

    What a function does in every `k`-th call counts if `calls` is a multiple of `k`.
    See `interleaved_times` for the arguments.
    """
    times = interleaved_times(steps, rounds, calls)
    return {
        name: statistics.median(
            statistics.fmean(values[start : start + calls])
            for start in range(0, len(values), calls)
        )
        for name, values in times.items()
    }
