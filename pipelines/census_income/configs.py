"""All literals of the pipeline of Census-Income."""

import pathlib
from typing import Any

from pipelines.census_income.pipeline import create_pipeline
from pipelines.definition import Pipeline
from pipelines.values import replace_values

VALUES: dict[str, Any] = {
    "splits": {"train": "census-income.data*", "eval": "census-income.test*"},
    # In the order of the files. `tf_mtl.datasets.census_files.COLUMNS` once more, since
    # to import that imports TensorFlow, which a run from the cache does without; a test
    # compares them.
    "columns": [
        "age",
        "class_worker",
        "det_ind_code",
        "det_occ_code",
        "education",
        "wage_per_hour",
        "hs_college",
        "marital_stat",
        "major_ind_code",
        "major_occ_code",
        "race",
        "hisp_origin",
        "sex",
        "union_member",
        "unemp_reason",
        "full_or_part_emp",
        "capital_gains",
        "capital_losses",
        "stock_dividends",
        "tax_filer_stat",
        "region_prev_res",
        "state_prev_res",
        "det_hh_fam_stat",
        "det_hh_summ",
        "instance_weight",
        "mig_chg_msa",
        "mig_chg_reg",
        "mig_move_reg",
        "mig_same",
        "mig_prev_sunbelt",
        "num_emp",
        "fam_under_18",
        "country_father",
        "country_mother",
        "country_self",
        "citizenship",
        "own_or_self",
        "vet_question",
        "vet_benefits",
        "weeks_worked",
        "year",
        "income_50k",
    ],
    "module_file": str(pathlib.Path(__file__).parent / "module" / "census_module.py"),
    "schema_file": None,
    "schema_options": {
        "max_domain": 60,
        "max_unseen": 0.01,
        "max_skew": 0.05,
        "max_drift": 0.05,
    },
    "custom_config": {
        "model": "mmoe",
        "model_args": {"num_experts": 4, "expert_units": [64], "tower_units": [32]},
        "aggregator": "gradcraft",
        "epochs": 10,
        "batch_size": 256,
        "embedding_dim": 8,
        "learning_rate": 1e-3,
        "seed": 0,
    },
    "tuner_options": None,
    "eval_args": {
        "min_auc": {"income": 0.93, "never_married": 0.98},
        "max_auc_drop": 0.002,
        "slices": ["sex", "race"],
    },
    "num_requests": 20,
}


def make_pipeline(root: pathlib.Path, data_dir: str | None, **values: Any) -> Pipeline:
    """Makes the pipeline.

    Args:
        root: folder of the runs; models are pushed to `served` below it.
        data_dir: folder with the official files, plain or with `.gz`.
        **values: values that replace those above.

    Raises:
        ValueError: if `data_dir` is missing, or a value has an unknown name.
    """
    if data_dir is None:
        raise ValueError(
            "`data_dir` must be the folder of the official files. "
            "`tf-mtl data prepare --help` says where to get them."
        )
    return create_pipeline(
        "census_income",
        data_dir,
        push_destination=str(root / "served"),
        **replace_values(VALUES, values),
    )
