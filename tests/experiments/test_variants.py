import dataclasses
import json

import pytest

from tf_mtl.experiments.variants import SHARED_CHOICES, parse_variants


def choices(config):
    return config.model, config.model_args, config.aggregator, config.aggregator_args


@pytest.fixture
def base(config):
    return dataclasses.replace(
        config,
        model="mmoe",
        model_args={"num_experts": 2},
        aggregator="ew",
        surface="representation",
    )


def test_inline_variants_change_what_they_name(base):
    found = parse_variants(
        "mmoe, |pcgrad, both=split_mmoe:level=both:tower_units=[8, 4]"
        ':router={"gamma": 2, "reading": "literal"}|gradcraft:parameters:tau=0.5',
        base,
    )
    assert list(found) == ["mmoe", "|pcgrad", "both"]
    assert found["mmoe"] == base
    assert choices(found["|pcgrad"]) == ("mmoe", base.model_args, "pcgrad", {})
    assert found["|pcgrad"].surface == "representation"
    arguments = {
        "num_experts": 2,
        "level": "both",
        "tower_units": [8, 4],
        "router": {"gamma": 2, "reading": "literal"},
    }
    assert choices(found["both"]) == (
        "split_mmoe",
        arguments,
        "gradcraft",
        {"tau": 0.5},
    )
    assert found["both"].surface == "parameters"


def test_presets_are_models_with_arguments(base):
    base = dataclasses.replace(base, model_args={})
    found = parse_variants(
        "split_mmoe+router,drgrad w/o gate,x=split_mmoe+router:level=both", base
    )
    assert choices(found["split_mmoe+router"])[:2] == ("split_mmoe", {"router": {}})
    arguments = {"personal_gate": False}
    assert choices(found["drgrad w/o gate"])[:2] == ("drgrad", arguments)
    assert found["x"].model_args == {"router": {}, "level": "both"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("(8, 4)", [8, 4]),
        ("8", 8),
        ("null", None),
        ("word", "word"),
    ],
)
def test_values_are_json_or_literals_or_words(base, text, value):
    (config,) = parse_variants(f"mmoe:dropout={text}", base).values()
    assert config.model_args["dropout"] == value
    # What a file of the choices gives back.
    assert json.loads(json.dumps(config.model_args)) == config.model_args


def test_file_may_change_any_choice_but_those_of_the_data(base, tmp_path):
    file = tmp_path / "variants.json"
    file.write_text('{"a": {}, "b": {"model": "split_mmoe+router", "epochs": 7}}')
    found = parse_variants(str(file), base)
    assert found["a"] == base
    assert found["b"].epochs == 7
    assert found["b"].model_args == {"num_experts": 2, "router": {}}
    for choice in SHARED_CHOICES:
        file.write_text(json.dumps({"a": {choice: getattr(base, choice)}}))
        with pytest.raises(ValueError, match=f"may change.*Received: .'{choice}'"):
            parse_variants(str(file), base)
    file.write_text('["mmoe"]')
    with pytest.raises(ValueError, match="object of objects"):
        parse_variants(str(file), base)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mmoe,mmoe", "names that differ.*'mmoe' twice"),
        ("mmoe,", "names that differ.*'' twice or empty"),
        ("mmoo", "Variant 'mmoo': `model` must be one of.*Did you mean 'mmoe'"),
        ("mmoe:experts=3", r"`model_args`.*'experts'"),
        ("mmoe:dropout", "name=value. Received: 'dropout'"),
        ("mmoe|ew|pcgrad", "one method each"),
        ("mmoe|all", "one method each"),
        ("mmoe|nope", "must be one of"),
        ("mmoe|ew:parameters:nope=1", "arguments of their method.*'nope'"),
    ],
)
def test_malformed_variants_are_refused(base, text, message):
    with pytest.raises(ValueError, match=message):
        parse_variants(text, base)
