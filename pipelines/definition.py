"""What a pipeline is: components with named inputs, outputs and parameters."""

import abc
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Channel:
    """An output of a component, which others read.

    Attributes:
        component: name of the component.
        output: name of the output.
        type: type of the artifact, by TFX's word for it.
    """

    component: str
    output: str
    type: str


@dataclasses.dataclass(frozen=True)
class Previous:
    """An input from an earlier run: what there was before the artifact of a channel.

    It is the artifact of the channel that passed `approved_by` in the newest run and
    differs in content from the one of this run. So a run that changes nothing has the
    input it had before. There may be none.

    Attributes:
        channel: the channel, which is an input of the component too.
        approved_by: name of the component that read the artifact and did not stop.
    """

    channel: Channel
    approved_by: str


@dataclasses.dataclass(frozen=True)
class Context:
    """What an execution gets from its runner.

    Attributes:
        inputs: dict of artifact folders by input; None for a `Previous` without any.
        outputs: dict of empty folders by output, to be filled.
        beam_options: options of the Beam pipelines of data-parallel components.
        scratch: folder, to be made, that the next attempt finds if this one is killed;
            None where the runner keeps none.
    """

    inputs: Mapping[str, pathlib.Path | None]
    outputs: Mapping[str, pathlib.Path]
    beam_options: Sequence[str] = ()
    scratch: pathlib.Path | None = None

    def read(self, name: str) -> pathlib.Path:
        """The folder of an input that is always there."""
        folder = self.inputs[name]
        if folder is None:
            raise ValueError(f"Input {name!r} has no artifact.")
        return folder


class Component(abc.ABC):
    """One step of a pipeline.

    The results must follow from the inputs, the parameters, the content of `files` and
    the code: then a runner may take them from an earlier execution.

    Args:
        name: string, unique in the pipeline.
        inputs: dict of what is read by input; an entry that is None is left out.
        parameters: dict of values that `json` can write.
        files: glob patterns of files outside of the pipeline that are read. Of a Python
            file, what it imports of this project counts too.
    """

    OUTPUTS: ClassVar[Mapping[str, str]]
    """Type of the artifact by output."""

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, Channel | Previous | None],
        parameters: Mapping[str, Any],
        files: Sequence[str] = (),
    ):
        self.name = name
        self.inputs = {n: source for n, source in inputs.items() if source is not None}
        self.parameters = dict(parameters)
        self.files = tuple(files)

    @property
    def outputs(self) -> dict[str, Channel]:
        """The outputs, to hand to other components."""
        return {name: Channel(self.name, name, t) for name, t in self.OUTPUTS.items()}

    @abc.abstractmethod
    def execute(self, context: Context) -> str | None:
        """Does the work.

        Args:
            context: inputs, and the folders to fill.

        Returns:
            None, or the reason why the pipeline must stop here. The outputs are kept
            in both cases.
        """

    def is_current(self, outputs: Mapping[str, pathlib.Path]) -> bool:
        """Whether outputs of an earlier execution still hold true outside of it."""
        del outputs
        return True


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Components in the order of their execution.

    Attributes:
        name: string.
        components: the components.

    Raises:
        ValueError: if names repeat, or an input is no output of an earlier component.
    """

    name: str
    components: Sequence[Component]

    def __post_init__(self) -> None:
        known: set[Channel] = set()
        names: set[str] = set()
        for component in self.components:
            if component.name in names:
                raise ValueError(
                    "`components` must have unique names. Received twice: "
                    f"{component.name!r}. Pass `name`."
                )
            names.add(component.name)
            for name, source in component.inputs.items():
                channel = source.channel if isinstance(source, Previous) else source
                if channel not in known:
                    raise ValueError(
                        f"Input {name!r} of {component.name!r} must be an output of a "
                        f"component before it. Received: {channel}."
                    )
            known.update(component.outputs.values())
