"""Export: trained models as versioned SavedModels that need no Keras to run."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_mtl.export.calibration import Calibration, fit_calibration
    from tf_mtl.export.inspection import Inspection, inspect
    from tf_mtl.export.provenance import Provenance
    from tf_mtl.export.saved_model import save
    from tf_mtl.export.score import Score
    from tf_mtl.export.versions import latest

_HOMES = {
    "Calibration": "calibration",
    "Inspection": "inspection",
    "Provenance": "provenance",
    "Score": "score",
    "fit_calibration": "calibration",
    "inspect": "inspection",
    "latest": "versions",
    "save": "saved_model",
}

__all__ = [
    "Calibration",
    "Inspection",
    "Provenance",
    "Score",
    "fit_calibration",
    "inspect",
    "latest",
    "save",
]


def __getattr__(name: str) -> Any:
    """Imports a name on first use: to look at an export takes no Keras."""
    if name in _HOMES:
        home = importlib.import_module(f"tf_mtl.export.{_HOMES[name]}")
        return getattr(home, name)
    raise AttributeError(f"module 'tf_mtl.export' has no attribute {name!r}")
