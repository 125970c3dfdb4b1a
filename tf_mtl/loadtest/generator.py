"""The load generator: clients that ask when they are answered, or at fixed times."""

import collections
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass
class Load:
    """What was measured.

    Attributes:
        seconds: time that was measured, of all turns.
        latencies: list of seconds, of the requests that were answered.
        codes: number of requests by the code that they ended with.
    """

    seconds: float = 0.0
    latencies: list[float] = dataclasses.field(default_factory=list)
    codes: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def percentile(self, percent: float) -> float:
        """Latency that so many percent of the requests do not exceed, milliseconds."""
        return float(np.percentile(self.latencies, percent)) * 1e3

    def add(self, other: "Load") -> None:
        """Adds what was measured in another turn."""
        self.seconds += other.seconds
        self.latencies += other.latencies
        self.codes += other.codes


def run(
    call: Callable[[int], str],
    concurrency: int,
    duration: float = 0.0,
    count: int = 0,
    rate: float = 0.0,
) -> Load:
    """Calls from several threads, each with one request at a time.

    A client asks again as soon as it is answered. Then a slow server is asked less, and
    its slowest time counts once. With `rate` requests are due at fixed times, whatever
    the server does, and their latency counts from then: also the time that they wait
    for a client who is free.

    Args:
        call: function of the number of the client to the code of its request, `OK` if
            it was answered.
        concurrency: int, clients.
        duration: seconds to call.
        count: int, number of calls instead, if it is not 0.
        rate: calls per second of all clients together. 0: as many as they can.

    Returns:
        What was measured.
    """
    numbers = itertools.count()
    results: list[list[tuple[str, float]]] = [[] for _ in range(concurrency)]
    failures: list[BaseException] = []
    ready = threading.Barrier(concurrency + 1)
    begin, end = [0.0], [float("inf")]

    def client(number: int) -> None:
        ready.wait()
        try:
            while not failures:
                position = next(numbers)
                due = time.perf_counter()
                if rate:
                    due = begin[0] + position / rate
                if (count and position >= count) or due >= end[0]:
                    break
                if rate:
                    time.sleep(max(0.0, due - time.perf_counter()))
                code = call(number)
                results[number].append((code, time.perf_counter() - due))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=client, args=(i,), daemon=True)
        for i in range(concurrency)
    ]
    for thread in threads:
        thread.start()
    begin[0] = time.perf_counter()
    if not count:
        end[0] = begin[0] + duration
    ready.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    measured = [each for result in results for each in result]
    return Load(
        time.perf_counter() - begin[0],
        [seconds for code, seconds in measured if code == "OK"],
        collections.Counter(code for code, _ in measured),
    )
