import doctest

import keras
import pytest

from tf_mtl import aggregators
from tf_mtl.aggregators import registry


def test_get_makes_an_aggregator_from_its_name():
    aggregator = aggregators.get("gradcraft", tau=0.5)
    assert isinstance(aggregator, aggregators.GradCraft)
    assert aggregator.tau == 0.5


def test_none_is_equal_weighting():
    aggregator = aggregators.get(None, reduction="mean")
    assert isinstance(aggregator, aggregators.EqualWeighting)
    assert aggregator.reduction == "mean"


def test_get_returns_an_aggregator_as_it_is():
    aggregator = aggregators.PCGrad()
    assert aggregators.get(aggregator) is aggregator


def test_get_takes_a_keras_config():
    config = keras.saving.serialize_keras_object(aggregators.GradCraft(tau=0.3))
    assert aggregators.get(config).tau == 0.3


@pytest.mark.parametrize("identifier", [aggregators.PCGrad(), {"class_name": "x"}])
def test_arguments_only_go_with_a_name(identifier):
    with pytest.raises(ValueError, match="only be given with a name"):
        aggregators.get(identifier, reduction="mean")


@pytest.mark.parametrize("name", ["adatask", "ada_task"])
def test_ada_task_is_said_to_be_an_optimizer(name):
    with pytest.raises(ValueError, match="an optimizer.*optimizers.AdaTask"):
        aggregators.get(name)


def test_unknown_name_lists_the_known_and_the_closest():
    with pytest.raises(ValueError, match="'ew', .*'fixed'.*Did you mean 'gradcraft'"):
        aggregators.get("gradcrft")


@pytest.mark.parametrize("name", ["ew", "fixed", "mgda", "uw"])
def test_preference_that_has_no_meaning_names_the_methods_that_take_it(name):
    with pytest.raises(ValueError, match=f"no meaning in '{name}'.*'cagrad', 'config'"):
        aggregators.get(name, preference=[1.0, 2.0])


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="`identifier` must be a name"):
        aggregators.get(3)


def test_names_are_sorted_and_filtered_by_kind():
    assert aggregators.names() == sorted(aggregators.names())
    assert {"ew", "fixed"} <= set(aggregators.names("loss"))
    assert {"gradcraft", "pcgrad"} <= set(aggregators.names("gramian"))
    by_kind = [aggregators.names(kind) for kind in ("loss", "gramian", "rows")]
    assert sorted(sum(by_kind, [])) == aggregators.names()


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="taken by EqualWeighting"):
        aggregators.register("ew")(aggregators.EqualWeighting)


def test_examples_run():
    result = doctest.testmod(registry)
    assert result.attempted and not result.failed


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind` must be one of"):
        aggregators.names("loses")
