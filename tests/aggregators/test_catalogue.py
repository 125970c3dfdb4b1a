import pathlib

import pytest

from tf_mtl import aggregators
from tf_mtl.aggregators import catalogue

# Without a source: anybody would do so.
PLAIN = {"ew", "fixed", "single"}


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for entry in catalogue.entries()}


def test_every_method_is_listed_with_its_source(entries):
    assert list(entries) == aggregators.names()
    assert {name for name, e in entries.items() if not e.reference} == PLAIN
    assert entries["pcgrad"].reference == (
        "Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, "
        "arXiv:2001.06782, algorithm 1."
    )


def test_every_method_has_a_summary_of_one_line(entries):
    for entry in entries.values():
        assert entry.summary.endswith("."), entry


def test_state_is_read_off_the_method(entries):
    assert entries["ew"].state == "none"
    assert entries["gradvac"].state.endswith("cosine_targets T x T")
    assert "squares_0 T x P" in entries["excess_mtl"].state


def test_cost_follows_from_the_kind(entries):
    assert entries["uw"].cost == "nothing"
    assert entries["famo"].cost == "a forward pass in some steps"
    assert entries["gradcraft"].cost.startswith("T - 1 backward passes")


def test_table_tells_where_ada_task_is():
    assert "tf_mtl.optimizers.AdaTask" in catalogue.table()


def test_table_of_one_kind_leaves_out_the_others():
    text = catalogue.table("rows")
    assert "graddrop" in text
    assert "gradcraft  " not in text


@pytest.mark.parametrize("name", aggregators.names())
def test_the_page_on_methods_says_when_to_use_it(name):
    root = pathlib.Path(__file__).resolve().parents[2]
    page = (root / "docs" / "methods.md").read_text()
    section, _, _ = page.partition("## By what it may cost")
    assert f"`{name}`" in section
