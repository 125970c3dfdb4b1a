"""Freezes the public names and signatures in `public_api.txt`.

A change there is a change of the public API: update the file by running this module,
`python -m tests.test_public_api`, and write a line in the changelog.
"""

import inspect
import pathlib
import types

import tf_mtl

FROZEN = pathlib.Path(__file__).with_name("public_api.txt")


def public_api():
    lines = []
    for name in sorted(tf_mtl.__all__):
        member = getattr(tf_mtl, name)
        if isinstance(member, types.ModuleType):
            lines += [
                _describe(f"{name}.{inner}", getattr(member, inner))
                for inner in sorted(member.__all__)
            ]
        else:
            lines.append(_describe(name, member))
    return "\n".join(lines) + "\n"


def _describe(name, member):
    if isinstance(member, types.ModuleType):
        return f"{name} (module)"
    if not callable(member):
        return name
    parameters = inspect.signature(member).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return f"{name}{inspect.Signature(plain)}"


def test_public_api_is_frozen():
    assert public_api() == FROZEN.read_text()


def test_every_public_name_is_documented():
    for name in tf_mtl.__all__:
        member = getattr(tf_mtl, name)
        inner = getattr(member, "__all__", []) if inspect.ismodule(member) else []
        documented = [member, *(getattr(member, i) for i in inner)]
        for thing in documented:
            if callable(thing) or inspect.ismodule(thing):
                assert inspect.getdoc(thing), f"{name}: {thing}"


if __name__ == "__main__":
    FROZEN.write_text(public_api())
