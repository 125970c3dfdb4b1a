"""Admission: how many requests are computed at a time, how many wait, and how long."""

import asyncio
import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from tf_mtl.serving.errors import RequestError, guarded

_Answer = TypeVar("_Answer")


@dataclasses.dataclass
class _Work:
    """A request that was admitted."""

    # None when the caller has gone: it holds the bytes of the request.
    function: Callable[[], Any] | None
    deadline: float | None
    answer: asyncio.Future


class Admission:
    """Runs requests in threads, within limits.

    More requests than are computed and wait at a time are refused at once: a server
    that takes all of them would answer none in time. Requests come from one event
    loop, `close` may come from another thread. (An executor of `concurrent.futures`
    would take several locks for each request, and two futures.)

    Args:
        concurrency: int. Requests that are computed at a time.
        queue_size: int. Requests that may wait for that.
    """

    def __init__(self, concurrency: int, queue_size: int) -> None:
        self._limit = concurrency + queue_size
        self._admitted = 0
        self._closed = False
        # No request may be put behind the ends that `close` puts.
        self._closing = threading.Lock()
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"serving-{i}", daemon=True)
            for i in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def admitted(self) -> int:
        """Requests that are computed or wait, also those whose caller has gone."""
        return self._admitted

    def check(self) -> None:
        """Checks that one more request may come.

        Raises:
            RequestError: RESOURCE_EXHAUSTED if too many wait; UNAVAILABLE after
                `close`.
        """
        if self._closed:
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE, "The server takes no more requests."
            )
        if self._admitted >= self._limit:
            raise RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The server has {self._limit} requests to answer, and takes no more.",
            )

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
            RequestError: see `check`; DEADLINE_EXCEEDED if the time was over before a
                thread was free.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        work = _Work(function, deadline, asyncio.get_running_loop().create_future())
        with self._closing:
            self.check()
            self._admitted += 1
            self._waiting.put(work)
        try:
            return await work.answer
        finally:
            work.function = None

    def close(self, timeout: float) -> None:
        """Ends the threads when all that was admitted is computed.

        Args:
            timeout: seconds to wait for that. A thread that computes for longer ends
                after that, and nobody waits for its answer.
        """
        end = time.monotonic() + timeout
        with self._closing:
            self._closed = True
            for _ in self._threads:
                self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            function = work.function
            result: Any = None
            error: RequestError | None = None
            try:
                if function is not None:
                    result = _run_in_time(function, work.deadline)
            except RequestError as raised:
                error = raised
            # The place is free when a thread has seen the request, not when the caller
            # goes: those that went would fill the queue without an end.
            # The loop may have been closed: then nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                work.answer.get_loop().call_soon_threadsafe(
                    self._settle, work.answer, result, error
                )
            # Not until the next request comes.
            del work, function, result, error

    def _settle(
        self, answer: asyncio.Future, result: Any, error: RequestError | None
    ) -> None:
        self._admitted -= 1
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)


def _run_in_time(function: Callable[[], _Answer], deadline: float | None) -> _Answer:
    if deadline is not None and time.monotonic() >= deadline:
        raise RequestError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "The time was over before the request could be computed.",
        )
    return guarded(function)
