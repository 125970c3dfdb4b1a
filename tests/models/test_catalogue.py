import math

import pytest

from tf_mtl import features, models
from tf_mtl.models import catalogue
from tf_mtl.tasks import Task

# Without a source: anybody would do so.
PLAIN = {"single_task"}


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for entry in catalogue.entries()}


def test_every_architecture_is_listed_with_its_source(entries):
    assert list(entries) == models.names()
    assert {name for name, e in entries.items() if not e.reference} == PLAIN
    assert all(entry.summary.endswith(".") for entry in entries.values())


def test_parameters_are_those_beside_the_tables(entries):
    # 20 vectors of 16 numbers -> 256 -> 128, and three towers 128 -> 64 -> 1.
    bottom = 320 * 256 + 256 + 256 * 128 + 128
    towers = 3 * (128 * 64 + 64 + 64 + 1)
    assert entries["shared_bottom"].parameters == bottom + towers
    ids = [features.IntegerRange("id", 2, embedding_dim=320)]
    model = models.SharedBottom(ids, [Task("a"), Task("b"), Task("c")])
    counted = sum(math.prod(v.shape) for v in model.trainable_variables)
    assert entries["shared_bottom"].parameters == counted - 4 * 320


def test_table_says_what_is_seed_and_what_beyond():
    lines = catalogue.table().splitlines()
    (mmoe,) = (line for line in lines if line.startswith("mmoe "))
    assert "  seed  " in mmoe
    assert mmoe.endswith("Multi-gate mixture of experts.")
