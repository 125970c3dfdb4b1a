"""ExampleValidator: stops where the data are not what they should be."""

from pipelines.definition import Channel, Component, Context, Previous


class ExampleValidator(Component):
    """Holds the statistics of each split to the schema.

    Measures skew, from the training split, and drift, from the same split of the last
    run that this component passed, where the schema has a comparator. Writes
    `Anomalies` of tensorflow-metadata for each split, and stops if there are any.

    Args:
        statistics: the statistics.
        schema: the schema.
        training_split: the split to measure skew from.
        compare_columns: bool. Whether a column that came, went or changed its type
            since the last run that passed is an anomaly, whatever the schema says: one
            that was inferred from the same rows cannot tell.
        name: name of the component.
    """

    OUTPUTS = {"anomalies": "ExampleAnomalies"}

    def __init__(
        self,
        statistics: Channel,
        schema: Channel,
        training_split: str,
        compare_columns: bool,
        name: str = "ExampleValidator",
    ):
        inputs: dict[str, Channel | Previous | None] = {
            "statistics": statistics,
            "schema": schema,
            "previous_statistics": Previous(statistics, approved_by=name),
        }
        parameters = {
            "training_split": training_split,
            "compare_columns": compare_columns,
        }
        super().__init__(name, inputs, parameters)

    def execute(self, context: Context) -> str | None:
        """Validates split by split."""
        from pipelines.data import layout, protos, validation

        folder = context.read("statistics")
        previous = context.inputs["previous_statistics"]
        earlier = {}
        if previous is not None:
            for split in layout.split_names(previous):
                earlier[split] = protos.read_statistics(previous, split)
        training = self.parameters["training_split"]
        schema = protos.read_schema(context.read("schema"))
        lines = []
        for split in layout.split_names(folder):
            is_training = split == training
            anomalies = validation.validate(
                protos.read_statistics(folder, split),
                schema,
                None if is_training else protos.read_statistics(folder, training),
                earlier.get(split),
                self.parameters["compare_columns"],
            )
            output = layout.split_folder(context.outputs["anomalies"], split)
            protos.write(output / layout.ANOMALIES, anomalies)
            lines += [f"{split}: {x}" for x in validation.describe(anomalies)]
        if not lines:
            return None
        return "\n  ".join([f"{len(lines)} anomalies in the examples.", *lines])
