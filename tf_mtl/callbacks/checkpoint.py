"""Checkpoint: all state after each epoch, the best epoch, and when to stop."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tf_mtl.files import write_text

_STATE = "state.json"


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole state of training after each epoch and stops when it is best.

    A file holds weights, optimizer, aggregator and seeds. Only the last and the best
    epoch are kept. `state.json` tells of them; it is replaced after their files are
    written, so a process that is killed at any moment leaves a readable folder.

    Epochs are counted from the first one saved in the folder, over all calls of `fit`,
    whatever number `fit` gives them.

    ```python
    checkpoint = Checkpoint("run/checkpoints", score=lambda logs: logs["val_like_auc"])
    first = checkpoint.resume(model)
    if not checkpoint.stopped:
        model.fit(..., initial_epoch=first, callbacks=[checkpoint])
    checkpoint.restore_best(model)
    ```

    Args:
        folder: where to save; made if it does not exist.
        score: callable of the logs of an epoch. A higher score is better.
        patience: int. Epochs without a better score before training stops; 0 never
            stops it.

    Raises:
        FileExistsError: when training begins, if the folder holds other epochs
            than this object saved or resumed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        score: Callable[[Mapping[str, float]], float],
        patience: int = 0,
    ) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.score = score
        self.patience = patience
        self.history: list[dict[str, float]] = []
        self.scores: list[float] = []

    @property
    def best_epoch(self) -> int:
        """The epoch of the best score so far, counted from 1; 0 before the first."""
        if not self.scores:
            return 0
        return self.scores.index(max(self.scores)) + 1

    @property
    def stopped(self) -> bool:
        """Whether the last epochs brought nothing better."""
        return 0 < self.patience <= len(self.scores) - self.best_epoch

    def resume(self, model: keras.Model) -> int:
        """Loads the last saved epoch, if there is one.

        Args:
            model: built and compiled as it was when it was saved.

        Returns:
            int. The number of finished epochs, `initial_epoch` for `fit`.
        """
        saved = self._saved()
        self.history, self.scores = saved["history"], saved["scores"]
        if self.scores:
            self._load(model, len(self.scores))
        return len(self.scores)

    def restore_best(self, model: keras.Model) -> None:
        """Loads the epoch of the best score, if any epoch was saved."""
        if self.scores:
            self._load(model, self.best_epoch)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Refuses to write over epochs of another run."""
        saved = self._saved()["scores"]
        if saved != self.scores:
            raise FileExistsError(
                "`folder` of `Checkpoint` must hold what the object knows of. "
                f"Received: folder={os.fspath(self.folder)!r} with {len(saved)} saved "
                f"epochs, and an object that saved or resumed {len(self.scores)}. Call "
                "`resume(model)` before `fit`, or take another folder."
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves the epoch."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append(logs)
        score = self.score(logs)
        # NaN compares as neither better nor worse, and would stay the best.
        self.scores.append(-math.inf if math.isnan(score) else score)
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self._file(len(self.scores))
        self.model.save_weights(last)
        saved = {"history": self.history, "scores": self.scores}
        write_text(self.folder / _STATE, json.dumps(saved))
        kept = {last, self._file(self.best_epoch)}
        for file in set(self.folder.glob("epoch-*.weights.h5")) - kept:
            file.unlink()
        if self.stopped:
            self.model.stop_training = True

    def _saved(self) -> dict[str, list[Any]]:
        """History and scores of the epochs in the folder."""
        state = self.folder / _STATE
        if not state.is_file():
            return {"history": [], "scores": []}
        saved: dict[str, list[Any]] = json.loads(state.read_text())
        return saved

    def _load(self, model: keras.Model, epoch: int) -> None:
        # Variables of the optimizer are read only into one that has them.
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(self._file(epoch))

    def _file(self, epoch: int) -> pathlib.Path:
        return self.folder / f"epoch-{epoch:04d}.weights.h5"
