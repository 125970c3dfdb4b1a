"""SchemaGen: what to expect of each feature."""

import shutil

from pipelines.definition import Channel, Component, Context


class SchemaGen(Component):
    """Infers a schema from the statistics of one split.

    It is a beginning: copy `schema.pbtxt`, correct it, and pass it to
    `ImportSchemaGen`, which holds new data to it.

    Args:
        statistics: the statistics.
        split: the split to infer from.
        max_domain: strings with up to so many different values get them as a domain.
        max_unseen: share of values that may lie outside of a domain.
        max_skew: distance that a split may have from `split`.
        max_drift: distance that a split may have from that of the run before. Of
            strings it is the largest change of a frequency, of numbers the
            Jensen-Shannon divergence in bits.
        name: name of the component.
    """

    OUTPUTS = {"schema": "Schema"}

    def __init__(
        self,
        statistics: Channel,
        split: str,
        max_domain: int,
        max_unseen: float,
        max_skew: float,
        max_drift: float,
        name: str = "SchemaGen",
    ):
        parameters = {
            "split": split,
            "max_domain": max_domain,
            "max_unseen": max_unseen,
            "max_skew": max_skew,
            "max_drift": max_drift,
        }
        super().__init__(name, {"statistics": statistics}, parameters)

    def execute(self, context: Context) -> None:
        """Reads statistics, writes the schema."""
        from pipelines.data import layout, protos, schemas

        options = dict(self.parameters)
        statistics = protos.read_statistics(
            context.read("statistics"), options.pop("split")
        )
        schema = schemas.infer(statistics, **options)
        protos.write(context.outputs["schema"] / layout.SCHEMA, schema)


class ImportSchemaGen(Component):
    """Takes over a schema that people have checked, if all it says is enforced.

    Args:
        schema_file: file of a `Schema` proto as text, `.pbtxt`.
        name: name of the component.
    """

    OUTPUTS = {"schema": "Schema"}

    def __init__(self, schema_file: str, name: str = "SchemaGen"):
        super().__init__(name, {}, {"schema_file": schema_file}, [schema_file])

    def execute(self, context: Context) -> None:
        """Copies the file, and looks whether all it says is enforced."""
        from pipelines.data import layout, protos, schemas

        shutil.copyfile(
            self.parameters["schema_file"], context.outputs["schema"] / layout.SCHEMA
        )
        schemas.check(protos.read_schema(context.outputs["schema"]))
