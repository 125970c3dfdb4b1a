import keras
import numpy as np
import pytest

from tf_mtl import Task, callbacks, features, models
from tf_mtl.callbacks.monitor import read_log

RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(64, 1)).astype(np.float32)}
LABELS = {
    "a": (INPUTS["x"][:, 0] > 0).astype(np.float32),
    "b": (INPUTS["x"][:, 0] < 0).astype(np.float32),
}


def make_model():
    keras.utils.set_random_seed(0)
    model = models.SharedBottom(
        [features.Numeric("x", normalization=None, default=0.0)],
        [Task("a"), Task("b")],
        bottom_units=(4,),
        tower_units=(),
        dropout=0.5,
    )
    model.compile("adam", jit_compile=False)
    return model


def fit(model, epochs=1, callbacks=()):
    model.fit(
        INPUTS, LABELS, 16, epochs, verbose=0, shuffle=False, callbacks=list(callbacks)
    )
    return model.get_weights()


def test_conflict_monitor_logs_the_gramian_and_changes_nothing(tmp_path):
    model = make_model()
    gramian = make_model().gramian(INPUTS, LABELS).numpy()
    monitor = callbacks.ConflictMonitor(tmp_path, (INPUTS, LABELS), every=2)
    watched = fit(model, callbacks=[monitor])
    rows = read_log(tmp_path / "conflicts.csv")
    assert [row["step"] for row in rows] == [0, 2]
    norms = np.sqrt(np.diagonal(gramian))
    np.testing.assert_allclose(
        rows[0]["cosine:a:b"], gramian[0, 1] / norms.prod(), rtol=1e-5
    )
    np.testing.assert_allclose(
        rows[0]["norm_ratio:a:b"], norms[0] / norms[1], rtol=1e-5
    )
    assert (tmp_path / "conflicts.png").exists()
    for with_monitor, without in zip(watched, fit(make_model()), strict=True):
        np.testing.assert_array_equal(with_monitor, without)


def test_conflict_monitor_looks_sometimes():
    with pytest.raises(ValueError, match="every=0"):
        callbacks.ConflictMonitor("logs", (INPUTS, LABELS), every=0)


def test_checkpoint_keeps_last_and_best_and_stops(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    checkpoint = callbacks.Checkpoint(tmp_path, lambda logs: next(scores), patience=2)
    fit(make_model(), epochs=5, callbacks=[checkpoint])
    assert checkpoint.scores == [0.1, 0.5, 0.4, 0.3]
    assert checkpoint.best_epoch == 2
    assert sorted(f.name for f in tmp_path.glob("*.h5")) == [
        "epoch-0002.weights.h5",
        "epoch-0004.weights.h5",
    ]
    again = callbacks.Checkpoint(tmp_path, lambda logs: 0.0, patience=2)
    assert again.resume(make_model()) == 4
    assert again.stopped


def test_checkpoint_counts_epochs_over_several_fits(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3])
    checkpoint = callbacks.Checkpoint(tmp_path, lambda logs: next(scores))
    model = make_model()
    after = [fit(model, 2, [checkpoint]), fit(model, 2, [checkpoint])]
    assert sorted(f.name for f in tmp_path.glob("*.h5")) == [
        "epoch-0002.weights.h5",
        "epoch-0004.weights.h5",
    ]
    checkpoint.restore_best(model)
    for restored, best in zip(model.get_weights(), after[0], strict=True):
        np.testing.assert_array_equal(restored, best)
    assert checkpoint.resume(model) == 4
    for resumed, last in zip(model.get_weights(), after[1], strict=True):
        np.testing.assert_array_equal(resumed, last)


def test_checkpoint_writes_over_no_other_run(tmp_path):
    def make(score):
        return callbacks.Checkpoint(tmp_path, lambda logs: score)

    fit(make_model(), callbacks=[make(0.5)])
    (best,) = tmp_path.glob("*.h5")
    before = best.read_bytes()
    with pytest.raises(FileExistsError, match="1 saved epochs.*resume"):
        fit(make_model(), callbacks=[make(0.1)])
    assert best.read_bytes() == before
    resumed, model = make(0.1), make_model()
    resumed.resume(model)
    fit(model, callbacks=[resumed])
    assert resumed.best_epoch == 1
    assert best.read_bytes() == before
    # Nor are files missed that someone removed.
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(FileExistsError, match="0 saved epochs.*resumed 2"):
        fit(model, callbacks=[resumed])


def test_throughput_leaves_the_first_epoch_out():
    throughput = callbacks.Throughput(batch_size=16)
    fit(make_model(), epochs=3, callbacks=[throughput])
    result = throughput.result()
    assert result["steps"] == 8
    assert result["rows_per_second"] == pytest.approx(16 * result["steps_per_second"])
    assert result["first_step_seconds"] > 1 / result["steps_per_second"]
