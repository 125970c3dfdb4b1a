"""A pipeline as a pipeline of TFX: by TFX's own components where they do the same."""

from collections.abc import Callable, Mapping
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode

from pipelines.components.evaluator import Evaluator
from pipelines.components.example_gen import ImportExampleGen
from pipelines.components.example_validator import ExampleValidator
from pipelines.components.pusher import Pusher
from pipelines.components.statistics_gen import StatisticsGen
from pipelines.components.trainer import Trainer
from pipelines.components.transform import Transform
from pipelines.data import user_module
from pipelines.definition import Channel, Component, Pipeline, Previous
from pipelines.runners import tfx_nodes

_Channels = Mapping[str, types.BaseChannel]


def translate(pipeline: Pipeline, is_local: bool, **options: Any) -> tfx.dsl.Pipeline:
    """Makes the pipeline of TFX.

    A component that TFX has becomes that of TFX. Any other runs as it is, in a node of
    TFX; so do those of which TFX's does less:

    - `CsvExampleGen`: TFX's wants a line of names and keeps the spaces.
    - `SchemaGen`: TFX's knows no tolerance for unseen values, and no limits to skew and
      drift.
    - `ExampleValidator`: TFX's measures neither skew nor drift and stops nothing. It
      runs too, as `<name>-TFX`.
    - `InfraValidator`: TFX's needs Docker or Kubernetes.
    - `Tuner`: TFX's needs KerasTuner, and a second function in the module.

    Args:
        pipeline: the pipeline.
        is_local: bool. Whether `LocalDagRunner` will run it; Kubeflow takes inputs from
            earlier runs by fewer rules.
        **options: more arguments of TFX's `Pipeline`.

    Returns:
        The pipeline of TFX.
    """
    translation = _Translation(is_local)
    name = pipeline.name if is_local else pipeline.name.replace("_", "-")
    for component in pipeline.components:
        translation.add(component)
    return tfx.dsl.Pipeline(name, components=translation.nodes, **options)


class _Translation:
    """The nodes so far."""

    def __init__(self, is_local: bool):
        self.is_local = is_local
        self.nodes: list[BaseNode] = []
        self.components: dict[str, Component] = {}
        self.channels: dict[Channel, types.BaseChannel] = {}
        # Nodes that stop a run by failing.
        self.verdicts: list[BaseNode] = []

    def add(self, component: Component) -> None:
        """Adds a component that reads from those added before."""
        self.components[component.name] = component
        inputs = {
            name: self._find_earlier(component, name, source)
            if isinstance(source, Previous)
            else self.channels[source]
            for name, source in component.inputs.items()
        }
        make = _TRANSLATORS.get(type(component), _Translation._as_it_is)
        node = make(self, component, inputs)
        self._append(node.with_id(component.name))
        for name, channel in component.outputs.items():
            self.channels[channel] = node.outputs[name]
        if isinstance(node, tfx_nodes.Node):
            self.verdicts.append(node)

    def _append(self, node: BaseNode) -> None:
        # What comes after a verdict waits for it, even if it reads nothing from it.
        node.add_upstream_nodes(self.verdicts)
        self.nodes.append(node)

    def _find_earlier(
        self, component: Component, name: str, source: Previous
    ) -> types.BaseChannel:
        """A node that looks for an artifact of an earlier run."""
        is_model = source.channel.type == "Model"
        verdicts = list(self.components[source.approved_by].outputs.values())
        if is_model:
            verdicts = [c for c in verdicts if c.type == "ModelBlessing"]
        channels = {
            tfx_nodes.PREVIOUS: _of_all_runs(source.channel),
            tfx_nodes.APPROVAL: _of_all_runs(verdicts[0]),
        }
        if self.is_local:
            strategy = tfx_nodes.LatestBlessed if is_model else tfx_nodes.LatestApproved
            channels[tfx_nodes.CURRENT] = self.channels[source.channel]
        elif is_model:
            strategy = tfx.dsl.experimental.LatestBlessedModelStrategy
        else:
            strategy = tfx.dsl.experimental.LatestArtifactStrategy
            del channels[tfx_nodes.APPROVAL]
        node = tfx.dsl.Resolver(strategy_class=strategy, **channels)
        # Kubeflow's engine takes letters, digits and hyphens.
        self._append(node.with_id(f"{component.name}-{name.replace('_', '-')}"))
        return node.outputs[tfx_nodes.PREVIOUS]

    def _as_it_is(self, component: Component, inputs: _Channels) -> BaseNode:
        return tfx_nodes.make_node(component, inputs, self.is_local)

    def _import_example_gen(self, component: Component, inputs: _Channels) -> BaseNode:
        del inputs
        splits = [
            tfx.proto.Input.Split(name=name, pattern=pattern)
            for name, pattern in component.parameters["splits"].items()
        ]
        return tfx.components.ImportExampleGen(
            input_base=component.parameters["input_base"],
            input_config=tfx.proto.Input(splits=splits),
        )

    def _statistics_gen(self, component: Component, inputs: _Channels) -> BaseNode:
        return tfx.components.StatisticsGen(**inputs)

    def _example_validator(self, component: Component, inputs: _Channels) -> BaseNode:
        validator = tfx.components.ExampleValidator(
            statistics=inputs["statistics"], schema=inputs["schema"]
        )
        self._append(validator.with_id(f"{component.name}-TFX"))
        return tfx_nodes.make_node(component, inputs, self.is_local)

    def _transform(self, component: Component, inputs: _Channels) -> BaseNode:
        examples = component.inputs["examples"]
        assert isinstance(examples, Channel)
        splits = tfx.proto.SplitsConfig(
            analyze=[component.parameters["analyze_split"]],
            transform=list(self.components[examples.component].parameters["splits"]),
        )
        return tfx.components.Transform(
            **inputs,
            module_file=component.parameters["module_file"],
            custom_config=component.parameters["custom_config"],
            splits_config=splits,
            # Of the raw examples there are statistics already.
            disable_statistics=True,
        )

    def _trainer(self, component: Component, inputs: _Channels) -> BaseNode:
        parameters = component.parameters
        return tfx.components.Trainer(
            **inputs,
            module_file=parameters["module_file"],
            train_args=tfx.proto.TrainArgs(splits=[parameters["train_split"]]),
            eval_args=tfx.proto.EvalArgs(splits=[parameters["eval_split"]]),
            custom_config=parameters["custom_config"],
        )

    def _evaluator(self, component: Component, inputs: _Channels) -> BaseNode:
        module = user_module.load(component.parameters["module_file"])
        make_eval_config = user_module.function(module, "make_eval_config")
        return tfx.components.Evaluator(
            **inputs,
            eval_config=make_eval_config(**component.parameters["eval_args"]),
            example_splits=[component.parameters["eval_split"]],
        )

    def _pusher(self, component: Component, inputs: _Channels) -> BaseNode:
        folder = tfx.proto.PushDestination.Filesystem(
            base_directory=component.parameters["push_destination"]
        )
        return tfx.components.Pusher(
            model=inputs["model"],
            model_blessing=inputs["model_blessing"],
            push_destination=tfx.proto.PushDestination(filesystem=folder),
        )


def _of_all_runs(channel: Channel) -> types.Channel:
    # With its producer named, TFX would take it for the channel of this run.
    return tfx.dsl.Channel(type=tfx_nodes.artifact_type(channel.type))


_TRANSLATORS: Mapping[type[Component], Callable[..., BaseNode]] = {
    ImportExampleGen: _Translation._import_example_gen,
    StatisticsGen: _Translation._statistics_gen,
    ExampleValidator: _Translation._example_validator,
    Transform: _Translation._transform,
    Trainer: _Translation._trainer,
    Evaluator: _Translation._evaluator,
    Pusher: _Translation._pusher,
}
