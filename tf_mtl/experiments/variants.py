"""Variants of a training run, as `tf-mtl compare` takes them."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from tf_mtl.benchmarks.methods import parse_methods
from tf_mtl.experiments.config import TrainConfig
from tf_mtl.option_text import read_named, split

# Ablations of DRGrad that are no architecture of their own: its name and arguments.
PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "split_mmoe+router": ("split_mmoe", {"router": {}}),
        "drgrad w/o gate": ("drgrad", {"personal_gate": False}),
    }
)

# Choices that make the data and the seeds, which the variants of a comparison share.
SHARED_CHOICES = (
    "dataset",
    "manual_dir",
    "data_dir",
    "embedding_dim",
    "validation_fraction",
    "seed",
)

_NAME = re.compile(r"([^=:|]+)=")


def parse_variants(text: str, base: TrainConfig) -> dict[str, TrainConfig]:
    """Reads variants as they are written on the command line.

    A variant changes choices of `base`. It is written

        [NAME=][MODEL[:ARGUMENT=VALUE ...]][|METHOD[:SURFACE[:ARGUMENT=VALUE ...]]]

    where MODEL is an architecture or one of `PRESETS`, values are JSON, Python literals
    or plain words, and the method is as in `benchmarks.methods.parse_methods`. What is
    left out is as in `base`, and the name is then the text itself:

        mmoe, |gradcraft, literal=split_mmoe:level=both:router={"reading": "literal"}|ew

    Arguments of the model are added to those of `base`.

    Args:
        text: variants separated by commas; or the path of a JSON file, an object of
            objects: by name, the fields of `TrainConfig` that the variant changes.
        base: the choices that variants do not change.

    Returns:
        dict of `TrainConfig` by name, in the order given.

    Raises:
        FileNotFoundError: if the JSON file is missing.
        ValueError: if a variant is malformed, has a name twice, names something
            unknown, or changes one of `SHARED_CHOICES`.
    """
    variants: dict[str, TrainConfig] = {}
    for name, changes in _read_file(text) if text.endswith(".json") else _read(text):
        if not name or name in variants:
            raise ValueError(
                f"`variants` must have names that differ. Received: {name!r} twice or "
                "empty. Write NAME=VARIANT."
            )
        try:
            variants[name] = _configure(base, changes)
        except ValueError as error:
            raise ValueError(f"Variant {name!r}: {error}") from error
    return variants


def check_changes(argument: str, changes: Collection[str]) -> None:
    """Checks that fields may differ between variants.

    Args:
        argument: name of the argument that is checked, for the message.
        changes: names of fields of `TrainConfig`.

    Raises:
        ValueError: if one is unknown, or among `SHARED_CHOICES`.
    """
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    allowed = fields - {*SHARED_CHOICES}
    unknown = sorted({*changes} - allowed)
    if unknown:
        raise ValueError(
            f"`{argument}` may change {sorted(allowed)}. Received: {unknown}."
        )


def _read_file(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    content = json.loads(pathlib.Path(path).expanduser().read_text())
    rows = content.values() if isinstance(content, dict) else [content]
    if not all(isinstance(changes, dict) for changes in rows):
        raise ValueError(
            "`variants` must be an object of objects by name, such as "
            f'{{"a": {{"model": "mmoe"}}}}. Received: {path!r} with {content!r}.'
        )
    return content.items()


def _read(text: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for item in split(text, ","):
        item = item.strip()
        named = _NAME.match(item)
        name, body = (named[1].strip(), item[named.end() :]) if named else (item, item)
        yield name, _changes(body)


def _changes(text: str) -> dict[str, Any]:
    architecture, *methods = split(text, "|")
    model, arguments = read_named(architecture)
    changes: dict[str, Any] = {"model_args": arguments}
    if model:
        changes["model"] = model
    if not methods:
        return changes
    try:
        found = parse_methods(methods)
    except TypeError as error:
        raise ValueError(
            f"`variants` name arguments of their method. Received: {text!r}: {error}."
        ) from error
    if len(found) > 1:
        raise ValueError(
            "`variants` have one method each, MODEL|METHOD. Received: "
            f"{text!r}, which has {len(found)}."
        )
    changes |= {
        "aggregator": found[0].name,
        "aggregator_args": dict(found[0].options),
    }
    return changes | ({"surface": found[0].surface} if ":" in methods[0] else {})


def _configure(base: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    check_changes("variants", changes)
    model = changes.get("model", base.model)
    model, arguments = PRESETS.get(model, (model, {}))
    changed = {
        # Arguments belong to one method.
        **({"aggregator_args": {}} if "aggregator" in changes else {}),
        **changes,
        "model": model,
        "model_args": {**base.model_args, **arguments, **changes.get("model_args", {})},
    }
    # As a file of the choices will give them back: with lists for tuples.
    return dataclasses.replace(base, **json.loads(json.dumps(changed)))
