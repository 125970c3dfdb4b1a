"""Features: from raw columns to model inputs and table sizes, by one description."""

from tf_mtl.features.categorical import Categorical, Hashed, IntegerRange
from tf_mtl.features.feature import Feature, IdFeature
from tf_mtl.features.numeric import Bucketized, Numeric
from tf_mtl.features.preprocessor import Preprocessor, Table

__all__ = [
    "Bucketized",
    "Categorical",
    "Feature",
    "Hashed",
    "IdFeature",
    "IntegerRange",
    "Numeric",
    "Preprocessor",
    "Table",
]
