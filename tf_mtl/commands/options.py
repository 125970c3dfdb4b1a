"""Options of the command line from the fields of a dataclass, and back."""

import dataclasses
import json
import typing
from typing import Any, TypeVar

from absl import flags

_Config = TypeVar("_Config")


class _JsonParser(flags.ArgumentParser):
    """Parses a JSON object; an absl flag holds the dict."""

    def parse(self, argument: Any) -> dict[str, Any]:
        parsed = argument
        if isinstance(argument, str):
            try:
                parsed = json.loads(argument)
            except json.JSONDecodeError as error:
                raise ValueError(f"not JSON: {error}") from None
        if not isinstance(parsed, dict):
            raise ValueError('not a JSON object such as {"name": 1}')
        return parsed

    def flag_type(self) -> str:
        return "JSON object"


class _JsonSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return json.dumps(value)


class _IntsParser(flags.ArgumentParser):
    """Parses integers between commas; an absl flag holds the tuple."""

    def parse(self, argument: Any) -> tuple[int, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        try:
            return tuple(int(part) for part in argument.split(","))
        except ValueError:
            raise ValueError("not integers with commas, such as 128,64") from None

    def flag_type(self) -> str:
        return "integers"


class _IntsSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(str, value))


def define(config: type, values: flags.FlagValues) -> None:
    """Declares one option per field, with its default and help text.

    Args:
        config: dataclass whose fields are str, int, float, bool, `str | None`,
            `tuple[int, ...]` or dict, each with a `help` in its metadata.
        values: where to declare.
    """
    types = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        text = field.metadata["help"]
        if field.default_factory is not dataclasses.MISSING:
            define_json(field.name, field.default_factory(), text, values)
            continue
        declare = _DECLARE.get(types[field.name], flags.DEFINE_string)
        declare(field.name, field.default, text, flag_values=values)


def define_json(
    name: str, default: dict[str, Any], text: str, values: flags.FlagValues
) -> None:
    """Declares an option that holds a JSON object.

    Args:
        name: of the option.
        default: dict.
        text: help text.
        values: where to declare.
    """
    flags.DEFINE(
        _JsonParser(),
        name,
        default,
        text,
        flag_values=values,
        serializer=_JsonSerializer(),
    )


def _define_ints(
    name: str, default: tuple[int, ...], text: str, flag_values: flags.FlagValues
) -> None:
    flags.DEFINE(
        _IntsParser(),
        name,
        default,
        text,
        flag_values=flag_values,
        serializer=_IntsSerializer(),
    )


def read(config: type[_Config], values: flags.FlagValues) -> _Config:
    """Makes the dataclass from parsed options.

    Args:
        config: the dataclass.
        values: parsed options.

    Returns:
        An instance of it.
    """
    names = [field.name for field in dataclasses.fields(typing.cast(Any, config))]
    return config(**{name: values[name].value for name in names})


_DECLARE: dict[Any, Any] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    tuple[int, ...]: _define_ints,
}
