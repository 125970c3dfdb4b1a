"""All canonical golden values of registered methods.

`tests/golden/aggregators.json` holds what public implementations, named with each
value, and exact solves give in float64: `cases` (rows and losses), `entries` (one
direction `d` each, with the scale that its error is compared to) and `sequences`
(stateful methods). Values that are not `canonical` are of other forms of a method.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = json.loads((ROOT / "golden" / "aggregators.json").read_text())

# Names of the file -> constructor arguments; None where a parameter is no argument.
ARGUMENTS = {
    "dualproj": {"norm_eps": None, "reg_eps": "ridge"},
    "mgda": {"combine": None},
    "upgrad": {"norm_eps": None, "reg_eps": "ridge"},
    "excess_mtl": {"weights_sum": None, "first_call": None},
    "gradcraft": {"ema_b": "norm_ema"},
    "gradnorm": {
        "lr": "learning_rate",
        "optimizer": None,
        "initial_losses": None,
        "initial_weights": None,
        "renormalise": None,
        "floor": None,
    },
    "gradvac": {"eps": None},
    "moco": {"normalise": None},
    "pcgrad_plus": {"include_self": None},
    "stch": {"ideal": "min_losses", "preference": None},
}
# The file replaced random orders by the natural one.
DEFAULTS = {name: {"order": "natural"} for name in ("gradvac", "pcgrad", "pcgrad_plus")}
# Its `normalise` is a flag here.
DEFAULTS["moco"] = {"normalize_rows": True}
# The directions in the file are as long as the equation says.
DEFAULTS["fairgrad"] = {"max_norm": None}
# Methods whose `reduction` in the file is no argument.
NO_REDUCTION = {
    "cagrad",
    "config",
    "dbmtl",
    "dualproj",
    "fairgrad",
    "gls",
    "imtl_g",
    "mgda",
    "nash_mtl",
    "stch",
    "upgrad",
}
# Sequences and random inputs that the test file of the method itself checks.
OWN_TEST = {
    "dwa",
    "famo",
    "graddrop",
    "igb_v1",
    "igb_v2",
    "imtl",
    "imtl_l",
    "metabalance",
    "rlw",
    "sdmgrad",
    "uw",
}

PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(tf.float64, "tol64"), (tf.float32, "tol32")]
)


def canonical(kind):
    known = aggregators.names()
    return [
        pytest.param(item, id=item["id"])
        for item in GOLDEN[kind]
        if item["canonical"]
        and item["method"] in known
        and item["method"] not in OWN_TEST
    ]


def of_method(kind, method):
    """The canonical items of one method, for its own test file."""
    return [
        pytest.param(item, id=item["id"])
        for item in GOLDEN[kind]
        if item["canonical"] and item["method"] == method
    ]


def make(item):
    arguments = ARGUMENTS.get(item["method"], {})
    named = {arguments.get(k, k): value for k, value in item["params"].items()}
    kwargs = DEFAULTS.get(item["method"], {}) | named
    kwargs.pop(None, None)
    if kwargs.get("max_norm") == 0:  # No limit, in the file.
        kwargs["max_norm"] = None
    if "reduction" in item and item["method"] not in NO_REDUCTION:
        kwargs["reduction"] = item["reduction"]
    return aggregators.get(item["method"], **kwargs)


def assert_close(actual, expected, scale, tolerance):
    assert np.linalg.norm(actual - expected) <= tolerance * scale


@PRECISIONS
@pytest.mark.parametrize("entry", canonical("entries"))
def test_direction_matches_golden_value(entry, dtype, tolerance):
    case = GOLDEN["cases"][entry["case"]]
    rows = tf.constant(case["rows"], dtype)
    losses = tf.constant(case["losses"], dtype)
    aggregator = make(entry)
    direction = aggregator(rows, losses)
    assert direction.dtype == dtype
    assert_close(direction, entry["d"], entry["scale"], entry[tolerance])
    assert aggregator.fallback_count.numpy() == 0


@PRECISIONS
@pytest.mark.parametrize("sequence", canonical("sequences"))
def test_sequence_matches_golden_value(sequence, dtype, tolerance):
    aggregator = make(sequence)
    # Rows that are tracked over the steps are kept in float32.
    is_tracked = isinstance(aggregator, aggregators.RowTracking)
    tolerance = max(sequence[tolerance], 1e-7 if is_tracked else 0.0)
    for step in sequence["steps"]:
        direction = aggregator(tf.constant(step["J"], dtype), step.get("losses"))
        scale = np.linalg.norm(step["expected_d"])
        assert_close(direction, step["expected_d"], scale, tolerance)
