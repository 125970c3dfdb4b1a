"""Provenance: what a model was trained on, with what, and how good it is."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What `save` cannot see in a model; its model card tells it.

    Args:
        data: str. Name or description of the data.
        fingerprint: str. Tells other training rows from these, see
            `datasets.columns.fingerprint`.
        num_rows: dict of int by split.
        metrics: dict by split of dict by task of metrics, such as
            `metrics.evaluate_predictions` gives, of the model without calibration.
        choices: dict of what the model was trained with, such as a config.
        limits: sentences about what the model was not made or tested for.

    Raises:
        TypeError: if JSON cannot write a value.
    """

    data: str | None = None
    fingerprint: str | None = None
    num_rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]] = dataclasses.field(
        default_factory=dict
    )
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            try:
                json.dumps(value)
            except TypeError as error:
                raise TypeError(
                    f"`{field}` must be such that JSON can write it. Received: "
                    f"{field}={value!r}. {error}."
                ) from error
