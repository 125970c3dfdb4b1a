"""Asks an exported model for predictions, with TensorFlow alone.

A script for a process of its own: `python client.py SAVED_MODEL ROWS.json`, where the
file holds a dict of lists by column. Prints the predictions as a JSON dict by task.
"""

import json
import pathlib
import sys

import tensorflow as tf


def predict(version: str, rows: dict[str, list]) -> dict[str, list[float]]:
    """Calls the signature `serving_default`.

    Args:
        version: folder that holds `saved_model.pb`.
        rows: dict of lists `(rows,)` by raw column.

    Returns:
        dict of lists `(rows,)` by task.
    """
    signature = tf.saved_model.load(version).signatures["serving_default"]
    columns = {
        name: tf.constant(rows[name], spec.dtype)
        for name, spec in signature.structured_input_signature[1].items()
    }
    answer = signature(**columns)
    return {task: tf.reshape(p, [-1]).numpy().tolist() for task, p in answer.items()}


if __name__ == "__main__":
    answers = predict(sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text()))
    # TensorFlow itself imports Keras, so of Keras nothing can be said.
    if "tf_mtl" in sys.modules:
        sys.exit("The exported model must load without tf_mtl.")
    print(json.dumps(answers))
