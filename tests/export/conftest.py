"""One small set of raw rows, its features, and a saved model per architecture."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import Task, export, models
from tf_mtl.features import (
    Bucketized,
    Categorical,
    Hashed,
    IntegerRange,
    Numeric,
    Preprocessor,
)

TASKS = (Task("click", primary=True), Task("dwell time", kind="regression"))
TRAIN = {
    "city": np.array(["Rome", "Oslo", "Rome", "Lima"]),
    "code": np.array([3, 1, 4, 1]),
    "tags": np.array([["x", "y"], ["y", ""], ["", ""], ["z", "x"]]),
    "hours-per-week": np.array([10.0, 25.5, 40.0, 1 / 3], np.float32),
}
# The second row is unknown everywhere, the third misses everything.
RAW = {
    "city": np.array(["Rome", "Atlantis", "", "Lima"]),
    "code": np.array([3, 99, -1, 0]),
    "tags": np.array([["x", "y"], ["q", "q"], ["", ""], ["", "z"]]),
    "hours-per-week": np.array([12.5, -1e6, np.nan, 7.0], np.float32),
}
MISSING = {"city": "", "code": -1, "tags": "", "hours-per-week": np.nan}


def make_features():
    """Every kind of feature: learned, hashed, lists, missing integers."""
    return [
        Categorical("city", embedding_dim=4, personal=True),
        IntegerRange("code", 5, embedding_dim=4, missing_value=-1),
        Categorical("tags", embedding_dim=4, max_length=2),
        Hashed("tag_bin", 7, column="tags", embedding_dim=4, max_length=2),
        Numeric("hours", column="hours-per-week", indicator=True),
        Bucketized("hours_bin", num_buckets=2, column="hours-per-week"),
    ]


def make_preprocessor():
    preprocessor = Preprocessor(make_features())
    preprocessor.adapt(tf.data.Dataset.from_tensors(TRAIN), progress=False)
    return preprocessor


def to_examples(raw):
    """Serialized tf.Examples; what is missing is absent."""
    return [
        _to_example({name: column[row] for name, column in raw.items()})
        for row in range(len(raw["city"]))
    ]


def _to_example(row):
    feature = {}
    for name, value in row.items():
        values = np.atleast_1d(value)
        values = [v for v in values.tolist() if v != MISSING[name] and v == v]
        if not values:
            continue
        if isinstance(values[0], str):
            encoded = [value.encode() for value in values]
            kind = {"bytes_list": tf.train.BytesList(value=encoded)}
        elif isinstance(values[0], int):
            kind = {"int64_list": tf.train.Int64List(value=values)}
        else:
            kind = {"float_list": tf.train.FloatList(value=values)}
        feature[name] = tf.train.Feature(**kind)
    features = tf.train.Features(feature=feature)
    return tf.train.Example(features=features).SerializeToString()


@dataclasses.dataclass
class Saved:
    """A model, where it was saved, and what was loaded from there."""

    model: models.TaskTrainer
    folder: str

    def __post_init__(self):
        self.loaded = tf.saved_model.load(self.folder)

    def predict(self, raw):
        return self.model.predict(self.model.features(raw), verbose=0)

    def serve_columns(self, raw):
        signature = self.model.features.raw_signature()
        raw = {n: tf.constant(v, signature[n].dtype) for n, v in raw.items()}
        return self.loaded.signatures["serving_default"](**raw)

    def serve_examples(self, raw):
        examples = tf.constant(to_examples(raw), tf.string)
        return self.loaded.signatures["serve_examples"](examples=examples)


@pytest.fixture(scope="session", params=models.names())
def saved(request, tmp_path_factory):
    """An untrained model of each architecture."""
    model = models.get(request.param)(make_preprocessor(), TASKS)
    return Saved(model, export.save(model, tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model with dropout, after a step of a stateful optimizer and aggregator."""
    model = models.SharedBottom(
        make_preprocessor(), TASKS, bottom_units=(8,), tower_units=(4,), dropout=0.5
    )
    model.compile("adam", aggregator="gradcraft", jit_compile=False)
    labels = {"click": np.array([0, 1, 1, 0]), "dwell time": np.arange(4.0)}
    model.fit(model.features(TRAIN), labels, verbose=0)
    return Saved(model, export.save(model, tmp_path_factory.mktemp("models")))
