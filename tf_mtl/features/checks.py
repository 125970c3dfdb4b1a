"""Whether a list of features makes sense together."""

from collections.abc import Sequence

from tf_mtl.features.columns import Column
from tf_mtl.features.feature import Feature, IdFeature


def check_features(features: Sequence[Feature]) -> None:
    """Checks types, names and shared tables.

    Raises:
        TypeError: if an entry is no feature.
        ValueError: if there is none, names repeat, or features that share a table
            disagree on its settings.
    """
    if not features:
        raise ValueError(
            "`features` must hold at least one feature. Received: features=[]."
        )
    states: dict[str, Feature] = {}
    names: set[str] = set()
    for feature in features:
        if not isinstance(feature, Feature):
            raise TypeError(
                "`features` must hold instances of Categorical, Hashed, IntegerRange, "
                "Numeric, Bucketized or another `Feature`. Received: "
                f"{feature!r} of type {type(feature).__name__}."
            )
        inputs = feature.inputs().keys()
        if names & inputs:
            raise ValueError(
                "`features` must have distinct names, those of weights included. "
                f"Received: {sorted(names & inputs)} twice. Pass `column` to read one "
                "column in two ways."
            )
        names |= inputs
        _check_shared(states.setdefault(feature.state_name, feature), feature)


def collect_columns(features: Sequence[Feature]) -> tuple[Column, ...]:
    """All raw columns that features read, each once.

    Raises:
        ValueError: if two features read one column in different ways.
    """
    columns: dict[str, Column] = {}
    for feature in features:
        for column in feature.columns():
            other = columns.setdefault(column.name, column)
            # NaN differs from itself, so compare what is written.
            if repr(other) != repr(column):
                raise ValueError(
                    f"Column {column.name!r} must be read in one way. Received: "
                    f"{other} and, for feature {feature.name!r}, {column}. Give both "
                    "features the same dtype, missing value and kind of list."
                )
    return tuple(columns.values())


def _check_shared(first: Feature, other: Feature) -> None:
    if first is other:
        return
    if not isinstance(first, IdFeature) or not isinstance(other, IdFeature):
        raise ValueError(
            f"Features {first.name!r} and {other.name!r} must not share the name "
            f"{first.state_name!r}: a number has no table. Pass another `table`."
        )
    ours, theirs = first.table_settings(), other.table_settings()
    differing = sorted(
        key
        for key in ours.keys() | theirs.keys()
        if key not in ours or key not in theirs or ours[key] != theirs[key]
    )
    if differing:
        raise ValueError(
            f"Features {first.name!r} and {other.name!r} share table "
            f"{first.state_name!r} and must agree on its settings. Received: different "
            f"{differing}. Make one from the other with `dataclasses.replace`."
        )
