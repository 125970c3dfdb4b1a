"""What `fit` does at the end of an epoch, for every model."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl import gradients


def with_own_callbacks(callbacks: Any) -> Any:
    """The callbacks of the user, with those of every `fit` around them.

    Args:
        callbacks: what `fit` takes: None, a callback, a list of them, or a
            `keras.callbacks.CallbackList`, which is added to.

    Returns:
        list of callbacks, or the `CallbackList`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(EndEpoch())
        callbacks.append(SkippedUpdatesWarning())
        return callbacks
    if not isinstance(callbacks, (list, tuple)):
        callbacks = [] if callbacks is None else [callbacks]
    return [EndEpoch(), *callbacks, SkippedUpdatesWarning()]


class EndEpoch(keras.callbacks.Callback):
    """Tells the aggregator that an epoch is over.

    It goes before the callbacks of the user, so that a checkpoint of the end of an
    epoch holds what the aggregator made of it.
    """

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tells it."""
        self.model.aggregator.end_epoch()


class SkippedUpdatesWarning(keras.callbacks.Callback):
    """Warns once per `fit` when a step was skipped."""

    def __init__(self) -> None:
        super().__init__()
        self._is_warned = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at the count of the epoch."""
        skipped = (logs or {}).get("skipped_updates", 0)
        if skipped and not self._is_warned:
            self._is_warned = True
            gradients.warn_of_skipped_updates(epoch, int(skipped))
