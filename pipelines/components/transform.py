"""Transform: what the module's `preprocessing_fn` makes of the examples."""

from collections.abc import Mapping
from typing import Any

from pipelines.definition import Channel, Component, Context


class Transform(Component):
    """Learns from one split by tf.Transform on Beam, then transforms all splits.

    The time is mostly that of the analyzers, about 2 seconds for each, whatever the
    number of rows: let one analyzer see many columns, as the examples do.

    Args:
        examples: the examples.
        schema: the schema.
        module_file: Python file with `preprocessing_fn(inputs)`. The folder should hold
            nothing else, since TFX ships all Python files of it.
        analyze_split: the split to learn from.
        custom_config: dict that `preprocessing_fn` gets if it takes `custom_config`.
        name: name of the component.
    """

    OUTPUTS = {
        "transform_graph": "TransformGraph",
        "transformed_examples": "Examples",
    }

    def __init__(
        self,
        examples: Channel,
        schema: Channel,
        module_file: str,
        analyze_split: str,
        custom_config: Mapping[str, Any] | None = None,
        name: str = "Transform",
    ):
        parameters = {
            "module_file": module_file,
            "analyze_split": analyze_split,
            "custom_config": custom_config,
        }
        inputs = {"examples": examples, "schema": schema}
        super().__init__(name, inputs, parameters, [module_file])

    def execute(self, context: Context) -> None:
        """Analyzes and transforms in one Beam pipeline."""
        import tempfile

        import apache_beam as beam
        import tensorflow_transform as tft
        import tensorflow_transform.beam as tft_beam
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        from pipelines.data import layout, protos, user_module
        from pipelines.data.beam import examples_io, make_pipeline, write_examples

        examples, graph = context.read("examples"), context.outputs["transform_graph"]
        schema = protos.read_schema(context.read("schema"))
        preprocessing_fn = user_module.preprocessing_fn(
            user_module.load(self.parameters["module_file"]),
            self.parameters["custom_config"],
        )
        with (
            # Beside the graph, where workers on other machines can write too.
            tempfile.TemporaryDirectory(prefix=".", dir=graph.parent) as temporary,
            make_pipeline(context.beam_options) as pipeline,
            tft_beam.Context(temp_dir=temporary),
        ):
            raw = {}
            for split in layout.split_names(examples):
                source = examples_io(examples, split, schema)
                rows = pipeline | f"Read[{split}]" >> source.BeamSource()
                raw[split] = rows, source.TensorAdapterConfig()
            to_analyze = raw[self.parameters["analyze_split"]]
            graph_fn = to_analyze | tft_beam.AnalyzeDataset(preprocessing_fn)
            _ = graph_fn | tft_beam.WriteTransformFn(str(graph))
            for split, rows in raw.items():
                transform = tft_beam.TransformDataset(output_record_batches=True)
                batches, metadata = (
                    rows,
                    graph_fn,
                ) | f"Transform[{split}]" >> transform
                encoder = RecordBatchToExamplesEncoder(metadata.schema)
                _ = (
                    batches
                    | f"Batches[{split}]" >> beam.Keys()
                    | f"Encode[{split}]" >> beam.FlatMap(encoder.encode)
                    | f"Write[{split}]"
                    >> write_examples(
                        context.outputs["transformed_examples"],
                        split,
                        "transformed_examples",
                    )
                )
        # As TFX does: so a trainer knows the raw columns from the graph alone.
        folder = graph / tft.TFTransformOutput.RAW_METADATA_DIR
        protos.write(folder / layout.SCHEMA, schema)
