"""Export: trained models as versioned SavedModels that need no Keras to run."""

from tf_mtl.export.calibration import Calibration, fit_calibration
from tf_mtl.export.saved_model import save
from tf_mtl.export.score import Score
from tf_mtl.export.versions import latest

__all__ = ["Calibration", "Score", "fit_calibration", "latest", "save"]
