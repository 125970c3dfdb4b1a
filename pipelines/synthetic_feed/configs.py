"""All literals of the pipeline of the synthetic feed."""

import pathlib
from typing import Any

from pipelines.definition import Pipeline
from pipelines.synthetic_feed.pipeline import create_pipeline
from pipelines.values import replace_values

VALUES: dict[str, Any] = {
    "splits": {"train": "train-*", "eval": "eval-*"},
    "module_file": str(pathlib.Path(__file__).parent / "module" / "feed_module.py"),
    "schema_file": None,
    "schema_options": {
        "max_domain": 20,
        "max_unseen": 0.0,
        "max_skew": 0.1,
        "max_drift": 0.05,
    },
    "custom_config": {
        "model": "mmoe",
        "model_args": {"num_experts": 4, "expert_units": [32], "tower_units": [16]},
        "aggregator": "gradcraft",
        "surface": "representation",
        "epochs": 15,
        "batch_size": 256,
        "embedding_dim": 8,
        "learning_rate": 5e-3,
        "dropout": 0.1,
        "seed": 0,
    },
    "tuner_options": None,
    "eval_args": {
        "min_auc": {"click": 0.7, "like": 0.65},
        "max_auc_drop": 0.02,
        "slices": ["country"],
    },
    "num_requests": 20,
}


def make_pipeline(root: pathlib.Path, data_dir: str | None, **values: Any) -> Pipeline:
    """Makes the pipeline.

    Args:
        root: folder of the runs; models are pushed to `served` below it.
        data_dir: folder that `pipelines.synthetic_feed.generator` wrote.
        **values: values that replace those above.

    Raises:
        ValueError: if `data_dir` is missing, or a value has an unknown name.
    """
    if data_dir is None:
        raise ValueError(
            "`data_dir` must be the folder of the records. "
            "`python -m pipelines.synthetic_feed.generator --output_dir=...` makes one."
        )
    return create_pipeline(
        "synthetic_feed",
        data_dir,
        push_destination=str(root / "served"),
        **replace_values(VALUES, values),
    )
