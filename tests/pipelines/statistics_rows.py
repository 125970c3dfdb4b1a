"""Statistics of rows that are given by column."""

import pyarrow as pa

from pipelines.data.statistics import StatisticsFn


def make_batch(columns):
    """Record batch; None is missing, other values are lists of one."""
    lists = {
        name: [None if v is None else v if isinstance(v, list) else [v] for v in values]
        for name, values in columns.items()
    }
    return pa.RecordBatch.from_pydict(lists)


def make_statistics(*batches):
    """Statistics of batches that were counted apart and merged."""
    fn = StatisticsFn("train")
    counted = [
        fn.add_input(fn.create_accumulator(), make_batch(batch)) for batch in batches
    ]
    return fn.extract_output(fn.merge_accumulators(counted))
