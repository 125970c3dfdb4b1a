import pytest

from tf_mtl.datasets import registry
from tf_mtl.experiments.config import TrainConfig

from .tiny_data import INFO


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(registry._DATASETS, "tiny", INFO)


@pytest.fixture
def config(tiny):
    return TrainConfig(
        dataset="tiny",
        model="shared_bottom",
        model_args={"bottom_units": [8], "tower_units": [4]},
        learning_rate=0.01,
        epochs=3,
        batch_size=64,
        embedding_dim=2,
    )
