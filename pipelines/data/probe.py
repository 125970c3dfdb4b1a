"""Asks an exported model for predictions, with TensorFlow alone.

A script for a process of its own:
`python -P probe.py SAVED_MODEL EXAMPLES_PATTERN NUM_REQUESTS`. It raises an error where
an answer is not finite or not the same each time, and prints one line otherwise.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_TOLERANCE = 1e-5
# No integer column has a value for "missing": examples without one are not asked by
# columns.
_MISSING = {tf.string: "", tf.float32: float("nan"), tf.int64: tf.int64.min}


def check(saved_model: str, pattern: str, num_requests: int) -> str:
    """Asks for predictions in four ways.

    Args:
        saved_model: folder that holds `saved_model.pb`.
        pattern: glob pattern of gzip-compressed files of examples.
        num_requests: number of examples to ask for.

    Returns:
        What was asked, in words.

    Raises:
        ValueError: if answers are wrong.
    """
    loaded = tf.saved_model.load(saved_model)
    serve_examples = _signature(loaded, "serve_examples")
    serve_columns = _signature(loaded, "serving_default")
    files = sorted(tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, "GZIP").take(num_requests)
    examples = [*records.as_numpy_iterator(), tf.train.Example().SerializeToString()]
    together = _finite(serve_examples(examples=tf.constant(examples)))
    _compare("one by one", together, _one_by_one(serve_examples, examples))
    columns, complete = _columns(examples, serve_columns)
    rows = {name: values[complete] for name, values in together.items()}
    _compare("by columns", rows, serve_columns(**columns))
    return f"{len(examples)} requests, outputs {sorted(together)}"


def _signature(loaded: Any, name: str) -> Any:
    if name not in loaded.signatures:
        raise ValueError(f"It has no signature {name!r}: {sorted(loaded.signatures)}.")
    return loaded.signatures[name]


def _columns(
    examples: Sequence[bytes], signature: Any
) -> tuple[dict[str, tf.Tensor], np.ndarray]:
    """Columns of the examples that have all integers, and which of them do."""
    specs = signature.structured_input_signature[1]
    parsing = {
        name: tf.io.FixedLenFeature([], spec.dtype, _MISSING[spec.dtype])
        for name, spec in specs.items()
    }
    columns = tf.io.parse_example(examples, parsing)
    complete = np.ones(len(examples), bool)
    for values in columns.values():
        if values.dtype.is_integer:
            complete &= np.asarray(values != values.dtype.min)
    return {name: values[complete] for name, values in columns.items()}, complete


def _one_by_one(signature: Any, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
    answers = [signature(examples=tf.constant([example])) for example in examples]
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def _finite(answers: Mapping[str, Any]) -> dict[str, np.ndarray]:
    found = {name: np.asarray(values) for name, values in answers.items()}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ValueError(f"Output {name!r} is not finite.")
    return found


def _compare(
    way: str, expected: Mapping[str, np.ndarray], answers: Mapping[str, Any]
) -> None:
    found = _finite(answers)
    for name, values in expected.items():
        error = np.abs(values - found[name]).max(initial=0.0)
        if error > _TOLERANCE:
            raise ValueError(f"Output {name!r} asked {way} differs by {error:.2g}.")


if __name__ == "__main__":
    print(check(sys.argv[1], sys.argv[2], int(sys.argv[3])))
