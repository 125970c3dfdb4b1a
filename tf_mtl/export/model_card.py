"""MODEL_CARD.md: what an export is and is not, for those who use it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LIMITS = (
    "Numbers hold for the rows they were measured on, all together: other rows, and "
    "groups of these, may differ.",
)


def model_card(info: Mapping[str, Any]) -> str:
    """Writes the model card.

    Args:
        info: what `model_info` gives.

    Returns:
        str. Markdown; what is not known is said to be so.
    """
    known = info["provenance"] or {}
    parts = [
        f"# Model card: {info['architecture']}",
        f"Made by tf_mtl {info['tf_mtl_version']} with TensorFlow "
        f"{info['tensorflow_version']}, {info['created']}, from git revision "
        f"{info['git_revision'] or 'unknown'}. It holds {info['num_weights']:,} "
        "weights.",
        "## Tasks",
        _table(
            ("task", "kind", "primary", "answer"),
            [
                (
                    task["name"],
                    task["kind"],
                    "yes" if task["primary"] else "no",
                    _ANSWERS[task["kind"]],
                )
                for task in info["tasks"]
            ],
        ),
        *_score(info["score"]),
        "## Inputs",
        _table(
            ("column", "type", "shape", "read by"),
            [
                (name, spec["dtype"], spec["shape"], _readers(info, name))
                for name, spec in info["columns"].items()
            ],
        ),
        "## Data",
        known.get("data") or "Not recorded.",
        *_rows(known),
        "## Metrics",
        *_metrics(known.get("metrics")),
        "## Calibration",
        *_calibration(info["calibration"]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in (*_limits(info), *known.get("limits", ()))),
    ]
    return "\n\n".join(parts) + "\n"


_ANSWERS = {"binary": "probability", "regression": "value"}


def _score(score: Mapping[str, Any] | None) -> Iterable[str]:
    if score is None:
        return
    weights = ", ".join(f"{name} = {w:g}" for name, w in score["weights"].items())
    yield f"The output `score` is `{score['formula']}`" + (
        f", where {weights} unless a request says otherwise." if weights else "."
    )


def _readers(info: Mapping[str, Any], column: str) -> str:
    found = [each for each in info["features"] if each["column"] == column]
    return ", ".join(f"{each['name']} ({each['kind']})" for each in found) or "network"


def _rows(known: Mapping[str, Any]) -> Iterable[str]:
    if known.get("num_rows"):
        yield _table(("split", "rows"), list(known["num_rows"].items()))
    if known.get("fingerprint"):
        yield f"Fingerprint of the training rows: `{known['fingerprint']}`."
    if known.get("choices"):
        yield "Trained with:"
        yield _table(("choice", "value"), list(known["choices"].items()))


def _metrics(metrics: Mapping[str, Any] | None) -> Iterable[str]:
    if not metrics:
        yield "Not recorded."
        return
    names = list(
        dict.fromkeys(n for s in metrics.values() for task in s.values() for n in task)
    )
    rows = [
        (split, task, *(values.get(name) for name in names))
        for split, found in metrics.items()
        for task, values in found.items()
    ]
    yield _table(("split", "task", *names), rows)


def _calibration(calibration: Mapping[str, Any] | None) -> Iterable[str]:
    if calibration is None:
        yield "None: probabilities are served as the model gives them."
        return
    yield (
        f"Method: {calibration['method']}. Each half of the rows was judged by the map "
        "of the other half. The metrics above are those before calibration."
    )
    rows = [
        (task, found["num_known"], when, *found[when].values())
        for task, found in calibration["tasks"].items()
        for when in ("before", "after")
    ]
    yield _table(("task", "rows", "", "log loss", "calibration error"), rows)


def _limits(info: Mapping[str, Any]) -> Iterable[str]:
    yield from _LIMITS
    if info["features"]:
        yield (
            "An id that training did not see is served as unknown, a missing number by "
            "the default of its feature."
        )
    if info["calibration"] is None:
        yield "Probabilities were not calibrated: rank by them, but do not bid by them."


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", r"\|").replace("\n", " ")
