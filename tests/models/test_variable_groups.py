"""Which task reaches which variable, for every architecture."""

import pytest

from .problem import ARCHITECTURES, TASKS, make_model, variable_groups

NAMES = [task.name for task in TASKS]
ALL = (frozenset(NAMES),)
EACH = tuple(frozenset([name]) for name in NAMES)
# The first two tasks are primary: their dedicated towers come before all others.
PRIMARY = EACH[:2]
TOWERS = PRIMARY + EACH
CHAINED = (frozenset(["click", "like"]), *EACH[1:])
ONWARDS = tuple(frozenset(NAMES[i:]) for i in range(len(NAMES)))
SPLIT = {
    "embedding": ALL,
    "expert": ALL,
    "shared_gate": ALL,
    "dedicated_gate": PRIMARY,
    "tower": TOWERS,
}

SUB_NETWORKS = {
    "embedding": ALL,
    "sub_network_1": ALL,
    "routing_1": ALL,
    "sub_network_2": ALL,
    "routing_2": EACH,
    "tower": EACH,
}

EXPECTED = {
    "snr_aver": SUB_NETWORKS,
    "snr_trans": SUB_NETWORKS,
    "cross_stitch": {
        "embedding": ALL,
        "layer_1": ALL,
        "stitch_1": ALL,
        "layer_2": ALL,
        "stitch_2": EACH,
        "tower": EACH,
    },
    # Two dedicated experts of each primary task.
    "split_mmoe": SPLIT | {"dedicated_expert": (*PRIMARY[:1] * 2, *PRIMARY[1:] * 2)},
    "drgrad": SPLIT | {"personal_gate": ALL},
    "single_task": {"embedding": EACH, "tower": EACH},
    "stem": {
        "embedding": ALL,
        "task_embedding": EACH,
        "shared_expert": ALL,
        "task_expert": EACH,
        "gate": EACH,
        "tower": EACH,
    },
    "shared_bottom": {"embedding": ALL, "bottom": ALL, "tower": EACH},
    "meta_heac": {
        "embedding": ALL,
        "expert": ALL,
        "expert_gate": ALL,
        "task_embedding": EACH,
        "critic_gate": ALL,
        "critic": ALL,
    },
    "mmoe": {"embedding": ALL, "expert": ALL, "gate": EACH, "tower": EACH},
    "omoe": {"embedding": ALL, "expert": ALL, "gate": ALL, "tower": EACH},
    # The tower of `click` is reached by `like` too, whose parent it is.
    "esmm": {"embedding": ALL, "tower": CHAINED},
    "chain": {"embedding": ALL, "expert": ALL, "gate": CHAINED, "tower": CHAINED},
    "aitm": {
        "embedding": ALL,
        "bottom": ONWARDS,
        "transfer_1": ONWARDS[1:2],
        "transfer_2": ONWARDS[2:],
        "tower": EACH,
    },
    # The second layers of the gates of towers are part of the towers.
    "ppnet": {"embedding": ALL, "gate": ALL, "tower": EACH},
    "pepnet": {"embedding": ALL, "embedding_gate": ALL, "gate": ALL, "tower": EACH},
    "ac_mmoe": {
        "embedding": ALL,
        "expert": ALL,
        "attention": ALL,
        "convolution": ALL,
        "gate": EACH,
        "tower": EACH,
    },
    "cgc": {
        "embedding": ALL,
        "task_expert_1": EACH,
        "shared_expert_1": ALL,
        "task_gate_1": EACH,
        "tower": EACH,
    },
    "ple": {
        "embedding": ALL,
        "task_expert_1": ALL,
        "task_expert_2": EACH,
        "shared_expert_1": ALL,
        "shared_expert_2": ALL,
        "task_gate_1": EACH,
        "task_gate_2": EACH,
        "shared_gate_1": ALL,
        "tower": EACH,
    },
}


def test_every_architecture_is_in_the_table():
    assert {*EXPECTED, "multi_task"} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_of_an_architecture(name):
    model = make_model(name)
    groups = variable_groups(model)
    assert list(groups) == [v.path for v in model.trainable_variables]
    found = {}
    for path, sets in groups.items():
        found.setdefault(path.split("/")[1], set()).add(sets)
    assert found == {part: {sets} for part, sets in EXPECTED[name].items()}


def test_groups_of_a_network_are_read_from_its_graph():
    groups = variable_groups(make_model("multi_task"))
    for path, sets in groups.items():
        layer = path.split("/")[-2].removesuffix("_hidden")
        expected = (frozenset([layer]),) if layer in NAMES else ALL
        assert sets == expected, path
