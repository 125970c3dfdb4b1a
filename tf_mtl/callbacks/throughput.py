"""Throughput: rows and steps per second, without compilation and validation."""

import time
from collections.abc import Mapping
from typing import Any

import keras


class Throughput(keras.callbacks.Callback):
    """Measures how fast `fit` trains.

    The first step of `fit`, which compiles, is timed alone. The other steps of the
    first epoch count only if there is no second: caches and input pipelines are
    still warming up. Validation and the callbacks after an epoch are left out.

    Args:
        batch_size: int. Rows per step.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._first_step = 0.0
        self._epochs: list[tuple[int, float]] = []
        self._start: float | None = None
        self._first = 0

    def result(self) -> dict[str, float | None]:
        """Figures of the last `fit`.

        Returns:
            dict of `rows_per_second` and `steps_per_second` in the steady state,
            `None` if there was only one step; `first_step_seconds`, most of it
            compilation; and `steps`, the number measured.
        """
        measured = self._epochs[1:] or self._epochs
        steps = sum(count for count, _ in measured)
        seconds = sum(spent for _, spent in measured)
        rate = steps / seconds if steps and seconds else None
        return {
            "rows_per_second": None if rate is None else rate * self.batch_size,
            "steps_per_second": rate,
            "first_step_seconds": self._first_step,
            "steps": steps,
        }

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forgets an earlier `fit`."""
        self._first_step, self._epochs = 0.0, []

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._start, self._first = self._now()

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        """Times the first call apart from the others: it compiles."""
        if not self._first_step and self._start is not None:
            now, step = self._now()
            self._first_step = now - self._start
            self._start, self._first = now, step

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Stops the clock before validation."""
        self._stop()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stops the clock where there is no validation."""
        self._stop()

    def _stop(self) -> None:
        if self._start is not None:
            now, step = self._now()
            self._epochs.append((step - self._first, now - self._start))
            self._start = None

    def _now(self) -> tuple[float, int]:
        # Reading a variable waits for the device to finish its steps.
        step = int(self.model.optimizer.iterations)
        return time.perf_counter(), step
