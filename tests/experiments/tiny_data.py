"""A data set of a few columns, so that a run takes seconds."""

import numpy as np

from tf_mtl.datasets import Column, DatasetInfo
from tf_mtl.datasets.columns import take_rows
from tf_mtl.datasets.splits import parse_split

TEST_ROWS = {"train": slice(0, 300), "test": slice(300, 400)}


def load_columns(split, manual_dir, data_dir):
    rng = np.random.default_rng(0)
    city = rng.choice([b"Rome", b"Oslo", b"Lima"], 400)
    item = rng.integers(0, 8, 400)
    price = np.exp(rng.normal(size=400)).astype(np.float32)
    score = (city == b"Rome") + (item > 4) + np.log(price)
    labels = {
        "click": (score > 1).astype(np.float32),
        "buy": (score + rng.normal(size=400) < 0).astype(np.float32),
    }
    features = {"city": city, "item": item, "price": price}
    part = parse_split(split, ("train", "test"))
    rows = TEST_ROWS[part.name]
    features, labels = take_rows(features, rows), take_rows(labels, rows)
    cut = part.rows(rows.stop - rows.start)
    return take_rows(features, cut), take_rows(labels, cut)


INFO = DatasetInfo(
    name="tiny",
    description="Made up.",
    columns={
        "city": Column("categorical"),
        "item": Column("integer", 8),
        "price": Column("numeric"),
    },
    labels={"click": "binary", "buy": "binary"},
    load_columns=load_columns,
)
