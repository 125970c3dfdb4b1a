import doctest

import pytest

from tf_mtl import option_text


def test_examples_are_true():
    assert doctest.testmod(option_text).failed == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1e-3", 1e-3),
        ("a=true", True),
        ("a=None", None),
        ('a={"b": [1, 2]}', {"b": [1, 2]}),
        ("a=(1, 2)", (1, 2)),
        ("a=word", "word"),
        ("a=", ""),
    ],
)
def test_values_are_json_literals_or_words(text, value):
    assert option_text.read_option(text) == ("a", value)


def test_option_without_value_is_refused():
    with pytest.raises(ValueError, match="form name=value. Received: 'tau'"):
        option_text.read_named("gradcraft:tau")
