"""Pusher: puts a blessed model where it is served from."""

import pathlib
import shutil
from collections.abc import Mapping

from pipelines.components.evaluator import BLESSED
from pipelines.components.infra_validator import INFRA_BLESSED
from pipelines.definition import Channel, Component, Context
from tf_mtl.files import version_folders

_FILE = "pushed_version.txt"


class Pusher(Component):
    """Copies a model as the next version of a folder, in one step, if it is blessed.

    Args:
        model: the model.
        model_blessing: what `Evaluator` said.
        infra_blessing: what `InfraValidator` said.
        push_destination: folder of the versions, which a server watches.
        name: name of the component.
    """

    OUTPUTS = {"pushed_model": "PushedModel"}

    def __init__(
        self,
        model: Channel,
        model_blessing: Channel,
        infra_blessing: Channel,
        push_destination: str,
        name: str = "Pusher",
    ):
        inputs = {
            "model": model,
            "model_blessing": model_blessing,
            "infra_blessing": infra_blessing,
        }
        super().__init__(name, inputs, {"push_destination": push_destination})

    def execute(self, context: Context) -> str | None:
        """Publishes the version, and writes its path."""
        from pipelines.data import layout
        from tf_mtl.export.versions import publish

        for name, file in (
            ("model_blessing", BLESSED),
            ("infra_blessing", INFRA_BLESSED),
        ):
            if not (context.read(name) / file).exists():
                return f"the model is not pushed: {name} is not {file}."
        source = context.read("model") / layout.SERVING_MODEL

        def copy(folder: pathlib.Path) -> None:
            shutil.copytree(source, folder, dirs_exist_ok=True)

        version = publish(self.parameters["push_destination"], copy)
        path = context.outputs["pushed_model"] / _FILE
        path.write_text(str(pathlib.Path(version).resolve()))
        return None

    def is_current(self, outputs: Mapping[str, pathlib.Path]) -> bool:
        """Whether the version is the newest, which a server takes."""
        found = version_folders(pathlib.Path(self.parameters["push_destination"]))
        pushed = (outputs["pushed_model"] / _FILE).read_text()
        return bool(found) and str(found[max(found)].resolve()) == pushed
