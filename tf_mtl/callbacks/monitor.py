"""Monitor: base of callbacks that look at the gradients of one fixed batch."""

import abc
import csv
import os
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.files import replacing
from tf_mtl.models.updates import changing_weights


class Monitor(keras.callbacks.Callback, abc.ABC):
    """Looks at a model every few steps, and writes and draws what it sees.

    Written to `log_dir`: `<stem>.csv`, a row per look; TensorBoard events; and at the
    end of training the figure `<stem>.png`. A run that is resumed in the same folder
    goes on with the same file. Watching does not change the training.

    Subclasses set `stem` and say what a look is.

    Args:
        log_dir: folder for what is written; made if it does not exist.
        data: `(inputs, labels)`, the batch to look at. A few hundred rows are
            enough; one look costs about as much as a step on them.
        every: int. Updates of the optimizer between two looks, the first before the
            first; one that is skipped does not count. With `steps_per_execution` a look
            waits for the end of an execution.

    Raises:
        ValueError: if `every` is not positive.
    """

    # Name of the files, and of the group in TensorBoard.
    stem: ClassVar[str]

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        data: tuple[Any, Any],
        every: int = 100,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be positive. Received: every={every}.")
        self.log_dir = pathlib.Path(log_dir)
        self.every = every
        self._data = data
        self._rows: list[dict[str, float]] = []
        # The step of the next look, and the one that training has reached at most.
        self._due = self._at_most = 0

    @abc.abstractmethod
    def look(self, inputs: Any, labels: Any) -> Any:
        """Tensors that say how the gradients of the batch lie; compiled."""

    @abc.abstractmethod
    def values(self, found: Any) -> dict[str, float]:
        """What is logged of a look, by name.

        Args:
            found: what `look` gave, as float64 arrays.
        """

    @abc.abstractmethod
    def draw(self, rows: list[dict[str, float]], figure: Any) -> None:
        """Draws the logged rows, each with its `step`, on a Matplotlib figure."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Compiles the look, and goes on from earlier rows of the file."""
        self._compiled = tf.function(self.look, jit_compile=self.model.jit_compile)
        step = int(self.model.optimizer.iterations)
        # Steps after the last checkpoint are done, and logged, once more.
        self._rows = [row for row in read_log(self._path(".csv")) if row["step"] < step]
        self._due = self._after(int(self._rows[-1]["step"])) if self._rows else step
        self._at_most = step
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(os.fspath(self.log_dir))

    def on_train_batch_begin(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        """Looks every `every` steps."""
        # Reading the counter of the optimizer waits for the device.
        if self._at_most >= self._due:
            self._at_most = step = int(self.model.optimizer.iterations)
            if step >= self._due:
                self._log(step)
                self._due = self._after(step)
        self._at_most += self.model.steps_per_execution

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the file."""
        if self._rows:
            with (
                replacing(self._path(".csv")) as temporary,
                temporary.open("w", newline="") as file,
            ):
                writer = csv.DictWriter(file, list(self._rows[0]))
                writer.writeheader()
                writer.writerows(self._rows)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Draws the figure."""
        # Slow to import, and needed once. The object interface leaves the backend of
        # the program as it is.
        from matplotlib.figure import Figure

        self._writer.close()
        if self._rows:
            figure = Figure(layout="constrained")
            self.draw(self._rows, figure)
            figure.savefig(self._path(".png"), dpi=120)

    def _path(self, suffix: str) -> pathlib.Path:
        return self.log_dir / f"{self.stem}{suffix}"

    def _after(self, step: int) -> int:
        """The first multiple of `every` after a step."""
        return (step // self.every + 1) * self.every

    def _log(self, step: int) -> None:
        state = [(v, tf.identity(v.value)) for v in _moved_by_a_look(self.model)]
        found = tf.nest.map_structure(
            lambda tensor: tensor.numpy().astype(np.float64),
            self._compiled(*self._data),
        )
        for variable, value in state:
            variable.assign(value)
        values = self.values(found)
        row = {"step": float(step), **values}
        if self._rows and row.keys() != self._rows[0].keys():
            raise ValueError(
                f"`log_dir` must hold a log of these tasks, or none. Received: "
                f"{os.fspath(self._path('.csv'))!r} with the columns "
                f"{list(self._rows[0])}, not {list(row)}. Choose another folder, or "
                "move the file away."
            )
        self._rows.append(row)
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{self.stem}/{name}", value)


def read_log(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads the CSV file of a `Monitor`.

    Args:
        path: the file; one that does not exist has no rows.

    Returns:
        list of dicts: `step`, and what the monitor logs.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def column(kind: str, *tasks: str) -> str:
    """Name of a logged value: `<kind>:<task>:<task>`.

    A colon in the name of a task is written `%3A`, and `%` is written `%25`, so that no
    two values have one name.

    Args:
        kind: str, what is logged.
        tasks: names of the tasks it is logged of.

    Returns:
        str.
    """
    names = [task.replace("%", "%25").replace(":", "%3A") for task in tasks]
    return ":".join([kind, *names])


def parts(name: str) -> list[str]:
    """What `column` joined: the kind, then names of tasks."""
    return [urllib.parse.unquote(part) for part in name.split(":")]


def angle(gramian: np.ndarray, i: int, j: int) -> tuple[float, float]:
    """How two gradients lie to each other.

    Args:
        gramian: float64 array, inner products of gradients.
        i: int, row of the first.
        j: int, row of the second.

    Returns:
        Their cosine, and the norm of the first over that of the second; NaN where it
        does not exist since a gradient is 0.
    """
    first, second = np.sqrt(gramian[i, i]), np.sqrt(gramian[j, j])
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.clip(gramian[i, j] / (first * second), -1.0, 1.0)
        return float(cosine), float(first / second)


def _moved_by_a_look(model: keras.Model) -> list[keras.Variable]:
    """What a forward pass of training moves: running means and seeds."""
    weights = {id(weight) for weight in model.weights}
    seeds = [v for v in model.non_trainable_variables if id(v) not in weights]
    return [*changing_weights(model), *seeds]
