"""What `fit` does at the end of an epoch."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tf_mtl import gradients


class EndEpoch(tf.keras.callbacks.Callback):
    """Tells the aggregator that an epoch is over, and warns once of skipped updates.

    It goes before the callbacks of the user, so that a checkpoint of the end of an
    epoch holds what the aggregator made of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_warned = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tells it, and looks at the count of the epoch."""
        self.model.aggregator.end_epoch()
        skipped = (logs or {}).get("skipped_updates", 0)
        if skipped and not self._is_warned:
            self._is_warned = True
            gradients.warn_of_skipped_updates(epoch, int(skipped))
