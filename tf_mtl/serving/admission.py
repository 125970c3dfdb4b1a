"""Admission: how many requests are computed at a time, how many wait, and how long."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc

from tf_mtl.serving.errors import RequestError, guarded

_Answer = TypeVar("_Answer")


class Admission:
    """Runs requests in threads, within limits.

    More requests than are computed and wait at a time are refused at once: a server
    that takes all of them would answer none in time. All calls come from one event
    loop, so nothing here needs a lock.

    Args:
        concurrency: int. Requests that are computed at a time.
        queue_size: int. Requests that may wait for that.
    """

    def __init__(self, concurrency: int, queue_size: int) -> None:
        self._limit = concurrency + queue_size
        self._admitted = 0
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="serving")

    @property
    def admitted(self) -> int:
        """Requests that are computed or wait."""
        return self._admitted

    async def run(
        self, function: Callable[[], _Answer], timeout: float | None = None
    ) -> _Answer:
        """Calls a function in a thread.

        A caller that goes away while its request waits (the task is cancelled) takes
        it along: nothing is computed for nobody.

        Args:
            function: what computes the answer.
            timeout: seconds until the answer is of no use. None: it always is.

        Returns:
            The answer.

        Raises:
            RequestError: RESOURCE_EXHAUSTED if too many wait; DEADLINE_EXCEEDED if the
                time was over before a thread was free.
        """
        if self._admitted >= self._limit:
            raise RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The server has {self._limit} requests to answer, and takes no more.",
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        self._admitted += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._pool, _run_in_time, function, deadline
            )
        finally:
            self._admitted -= 1

    def close(self) -> None:
        """Waits for what is computed."""
        self._pool.shutdown()


def _run_in_time(function: Callable[[], _Answer], deadline: float | None) -> _Answer:
    if deadline is not None and time.monotonic() >= deadline:
        raise RequestError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "The time was over before the request could be computed.",
        )
    return guarded(function)
