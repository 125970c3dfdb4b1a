"""What a benchmark writes: its rows and the machine."""

import dataclasses
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.benchmarks.sizes import Sizes
from tf_mtl.files import write_json


def device_name() -> str:
    """The device that TensorFlow chooses for a step: the first GPU, else the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU {platform.machine()}, {os.cpu_count()} cores"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU {details.get('device_name', gpus[0].name)}"


def heading(sizes: Sizes) -> str:
    """The lines above a table: where it was measured, and on what.

    Args:
        sizes: sizes of the models.

    Returns:
        str of two lines.
    """
    return f"Device: {device_name()}\nModel: {sizes}"


def write(rows: Sequence[Any], sizes: Sizes, path: str | os.PathLike[str]) -> None:
    """Writes rows, the machine and the sizes of the models as JSON.

    Args:
        rows: instances of a dataclass.
        sizes: sizes of the models.
        path: the file.
    """
    result: dict[str, Any] = {
        "machine": {
            "device": device_name(),
            "processor": platform.machine(),
            "devices": [d.name for d in tf.config.list_logical_devices()],
            "tensorflow": tf.__version__,
            "keras": keras.version(),
        },
        "sizes": dataclasses.asdict(sizes),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_json(pathlib.Path(path), result)
