"""The Pusher behind components that train nothing."""

import pytest

from pipelines.components.pusher import Pusher
from pipelines.data import layout
from pipelines.definition import Component, Pipeline
from pipelines.runners import local


class Model(Component):
    """Writes a text as a model, with both blessings."""

    OUTPUTS = {
        "model": "Model",
        "model_blessing": "ModelBlessing",
        "infra_blessing": "InfraBlessing",
    }

    def __init__(self, text, blessings):
        super().__init__("Model", {}, {"text": text, "blessings": blessings})

    def execute(self, context):
        folder = context.outputs["model"] / layout.SERVING_MODEL
        folder.mkdir()
        (folder / "saved_model.pb").write_text(self.parameters["text"])
        for name, file in self.parameters["blessings"].items():
            (context.outputs[name] / file).touch()


BLESSED = {"model_blessing": "BLESSED", "infra_blessing": "INFRA_BLESSED"}


def push(folder, text, **blessings):
    model = Model(text, {**BLESSED, **blessings})
    pusher = Pusher(**model.outputs, push_destination=str(folder / "served"))
    return local.run(Pipeline("push", [model, pusher]), folder / "root")


def served(folder):
    """Text of each version, in their order."""
    versions = sorted((folder / "served").glob("*"), key=lambda path: int(path.name))
    return [(path / "saved_model.pb").read_text() for path in versions]


def test_model_of_an_earlier_run_is_pushed_again_over_a_newer_one(tmp_path):
    for text in "ABA":
        push(tmp_path, text)
    assert served(tmp_path) == ["A", "B", "A"]
    assert push(tmp_path, "A").executed == ()
    assert served(tmp_path) == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("name", "file", "needed"),
    [
        ("model_blessing", "NOT_BLESSED", "BLESSED"),
        ("infra_blessing", "INFRA_NOT_BLESSED", "INFRA_BLESSED"),
    ],
)
def test_model_without_a_blessing_is_not_pushed(tmp_path, name, file, needed):
    result = push(tmp_path, "A", **{name: file})
    assert result.reason == f"Pusher: the model is not pushed: {name} is not {needed}."
    assert served(tmp_path) == []
