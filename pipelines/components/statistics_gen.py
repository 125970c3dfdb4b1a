"""StatisticsGen: what the values of each split look like."""

from pipelines.definition import Channel, Component, Context


class StatisticsGen(Component):
    """Computes statistics of all features by Beam.

    Writes a `DatasetFeatureStatisticsList` of tensorflow-metadata for each split:
    counts, moments, quantiles, frequencies.

    Args:
        examples: the examples.
        name: name of the component.
    """

    OUTPUTS = {"statistics": "ExampleStatistics"}

    def __init__(self, examples: Channel, name: str = "StatisticsGen"):
        super().__init__(name, {"examples": examples}, {})

    def execute(self, context: Context) -> None:
        """One combine per split."""
        import apache_beam as beam

        from pipelines.data import layout, protos
        from pipelines.data.beam import examples_io, make_pipeline
        from pipelines.data.statistics import StatisticsFn

        examples = context.read("examples")
        with make_pipeline(context.beam_options) as pipeline:
            for split in layout.split_names(examples):
                folder = layout.split_folder(context.outputs["statistics"], split)
                _ = (
                    pipeline
                    | f"Read[{split}]" >> examples_io(examples, split).BeamSource()
                    | f"Combine[{split}]" >> beam.CombineGlobally(StatisticsFn(split))
                    | f"Write[{split}]"
                    >> beam.Map(protos.write_statistics, folder / layout.STATISTICS)
                )
