"""Fields of dataclasses of options."""

import dataclasses
from typing import Any

from tf_mtl.options import option


@dataclasses.dataclass(frozen=True)
class Config:
    number: int = option(3, "A number.")
    arguments: dict[str, Any] = option({}, "Arguments.")


def test_each_instance_has_its_own_dict():
    first, second = Config(), Config()
    first.arguments["a"] = 1
    assert second == Config(3, {})


def test_help_is_kept():
    texts = [field.metadata["help"] for field in dataclasses.fields(Config)]
    assert texts == ["A number.", "Arguments."]
