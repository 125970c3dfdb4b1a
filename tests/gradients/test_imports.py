"""Gradients and aggregators serve Keras 2 too: they use no layer and no model."""

import ast
import pathlib

import tf_mtl

ROOT = pathlib.Path(tf_mtl.__file__).parent
FILES = sorted(
    path
    for room in ("gradients", "aggregators")
    for path in (ROOT / room).rglob("*.py")
)
ROOMS = ("gradients", "aggregators", "names", "docstrings")
# Of Keras: variables, what fills them, random numbers, and serialisation.
OF_KERAS = {"Variable", "Initializer", "initializers", "random", "saving"}


def nodes(path, kind):
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, kind)]


def modules(path):
    froms = [node.module or "" for node in nodes(path, ast.ImportFrom)]
    plain = [a.name for node in nodes(path, ast.Import) for a in node.names]
    return [module.split(".") for module in froms + plain]


def of_keras(path):
    return {
        node.attr
        for node in nodes(path, ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id == "keras"
    }


def test_gradients_and_aggregators_import_no_other_room():
    wrong = {
        (path.name, *module)
        for path in FILES
        for module in modules(path)
        if module[0] == "tf_mtl" and module[1:2] not in [[room] for room in ROOMS]
    }
    assert wrong == set()


def test_gradients_and_aggregators_take_only_variables_of_keras():
    used = {path.name: of_keras(path) - OF_KERAS for path in FILES}
    assert {name: found for name, found in used.items() if found} == {}
    deeper = [m for path in FILES for m in modules(path) if m[0] == "keras" and m[1:]]
    assert deeper == []
