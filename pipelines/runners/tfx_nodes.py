"""Components of this package as nodes of TFX, and the inputs from earlier runs."""

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base import base_beam_component, base_beam_executor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import io_utils

from pipelines.data import layout
from pipelines.definition import Component, Context
from pipelines.runners import portable

_COMPONENT = "component"
# Property of an artifact: the folders that were read to make it.
_READ = "read"

# Inputs of the strategies below.
PREVIOUS, APPROVAL, CURRENT = "previous", "approval", "current"


class Stopped(Exception):  # noqa: N818  (not an error: the verdict on data or a model)
    """A component has a reason to stop the pipeline."""


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Executes a component of this package on the artifacts of TFX."""

    def Do(  # noqa: N802
        self,
        input_dict: Mapping[str, list[types.Artifact]],
        output_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
    ) -> None:
        """Reads and fills the folders of the artifacts.

        Raises:
            Stopped: with the component's reason.
        """
        component = portable.load(exec_properties[_COMPONENT])
        present = {name: a[0].uri for name, a in input_dict.items() if a}
        targets = {name: a[0].uri for name, a in output_dict.items()}
        with tempfile.TemporaryDirectory() as temporary:
            inputs = _folders(present, pathlib.Path(temporary) / "inputs")
            outputs = _folders(targets, pathlib.Path(temporary) / "outputs")
            for name, folder in inputs.items():
                if _is_remote(present[name]):
                    io_utils.copy_dir(present[name], str(folder))
            for folder in outputs.values():
                folder.mkdir(parents=True, exist_ok=True)
            folders = dict.fromkeys(input_dict) | inputs
            options = self._beam_pipeline_args or ()
            reason = component.execute(Context(folders, outputs, options))
            for name, folder in outputs.items():
                if _is_remote(targets[name]):
                    io_utils.copy_dir(str(folder), targets[name])
                artifact = output_dict[name][0]
                artifact.set_string_custom_property(
                    _READ, json.dumps(sorted(present.values()))
                )
                if splits := layout.split_names(folder):
                    artifact.split_names = artifact_utils.encode_split_names(splits)
        if reason is not None:
            raise Stopped(f"{component.name}: {reason}")


def _folders(
    addresses: Mapping[str, str], temporary: pathlib.Path
) -> dict[str, pathlib.Path]:
    """Folders of artifacts on this machine, temporary ones for an object store's."""
    return {
        name: temporary / name if _is_remote(address) else pathlib.Path(address)
        for name, address in addresses.items()
    }


def _is_remote(address: str) -> bool:
    return "://" in address


def make_node(
    component: Component, channels: Mapping[str, types.BaseChannel], is_local: bool
) -> "Node":
    """A node of TFX that executes a component of this package.

    Args:
        component: the component.
        channels: dict of channels by the component's inputs. One from an earlier run
            may be empty.
        is_local: bool. Whether its files can be looked at here.

    Returns:
        The node. Its outputs are those of the component, as artifacts of TFX.
    """
    kind = type(component).__name__
    outputs = {name: artifact_type(t) for name, t in component.OUTPUTS.items()}
    spec = type(
        f"{kind}Spec",
        (types.ComponentSpec,),
        {
            "PARAMETERS": {_COMPONENT: ExecutionParameter(type=str)},
            "INPUTS": {
                name: ChannelParameter(type=channel.type, optional=True)
                for name, channel in channels.items()
            },
            "OUTPUTS": {name: ChannelParameter(type=t) for name, t in outputs.items()},
        },
    )
    node = type(kind, (Node,), {"SPEC_CLASS": spec})
    filled = {name: types.Channel(type=t) for name, t in outputs.items()}
    values = {_COMPONENT: portable.dump(component, is_local), **channels, **filled}
    return node(spec(**values))


class Node(base_beam_component.BaseBeamComponent):
    """A node that executes a component of this package."""

    SPEC_CLASS = types.ComponentSpec
    EXECUTOR_SPEC = BeamExecutorSpec(_Executor)


def artifact_type(name: str) -> type[types.Artifact]:
    """The artifact type of TFX with this name."""
    return getattr(standard_artifacts, name)


class LatestApproved(tfx.dsl.experimental.LatestArtifactStrategy):
    """The newest artifact that `approval` was made from and that is not `current`.

    `current` is the artifact of this run: a run that changes nothing has the inputs it
    had before, and is cached.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: Mapping[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """See `ResolverStrategy`."""
        approved = {
            uri
            for artifact in input_dict[APPROVAL]
            for uri in json.loads(artifact.get_string_custom_property(_READ) or "[]")
        }
        found = [a for a in _others(input_dict) if a.uri in approved]
        return {**input_dict, **super().resolve_artifacts(store, {PREVIOUS: found})}


class LatestBlessed(tfx.dsl.experimental.LatestBlessedModelStrategy):
    """The newest blessed model that is not `current`, the model of this run."""

    def resolve_artifacts(
        self, store: Any, input_dict: Mapping[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """See `ResolverStrategy`."""
        models = {
            PREVIOUS: _others(input_dict),
            APPROVAL: input_dict[APPROVAL],
        }
        return {**input_dict, **super().resolve_artifacts(store, models)}


def _others(
    input_dict: Mapping[str, list[types.Artifact]],
) -> list[types.Artifact]:
    """The artifacts of `previous` that are not `current`."""
    current = {artifact.uri for artifact in input_dict[CURRENT]}
    return [a for a in input_dict[PREVIOUS] if a.uri not in current]
