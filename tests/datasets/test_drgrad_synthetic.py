import numpy as np
import pytest

from tf_mtl.datasets import drgrad_synthetic
from tf_mtl.datasets.drgrad_synthetic import make_drgrad_synthetic

ROWS = 22_000


def correlation(labels):
    return np.corrcoef(labels["label_1"], labels["label_2"])[0, 1]


def test_default_size_types_and_splits():
    data = make_drgrad_synthetic()
    assert list(data.features) == [
        *(f"sparse_{i}" for i in range(1, 7)),
        *(f"dense_{i}" for i in range(7, 33)),
    ]
    for name, column in data.features.items():
        assert column.shape == (110_000,)
        assert column.dtype == (np.int64 if name.startswith("sparse") else np.float32)
    for label in (*data.labels.values(), *data.real_labels.values()):
        assert label.shape == (110_000,)
        assert label.dtype == np.float32
    train, test = data.split("train"), data.split("test")
    assert len(train.labels["label_1"]) == 100_000
    assert len(test.labels["label_1"]) == 10_000
    np.testing.assert_array_equal(
        test.features["dense_7"], data.features["dense_7"][-10_000:]
    )
    assert len(data.split("train[90%:]").labels["label_2"]) == 10_000


def test_ids_are_64_equally_frequent_buckets():
    data = make_drgrad_synthetic(6400)
    for name in drgrad_synthetic.SPARSE:
        counts = np.bincount(data.features[name])
        assert counts.tolist() == [100] * 64


@pytest.mark.parametrize("cos_theta", [-1.0, -0.5, 0.0, 0.8])
def test_real_labels_correlate_by_cos_theta(cos_theta):
    data = make_drgrad_synthetic(ROWS, cos_theta=cos_theta)
    np.testing.assert_allclose(correlation(data.real_labels), cos_theta, atol=1e-5)


def test_binary_labels_correlate_less():
    # 2/pi asin(0.8) = 0.590 for normal labels, which these are nearly.
    data = make_drgrad_synthetic(cos_theta=0.8)
    np.testing.assert_allclose(correlation(data.labels), 0.59, atol=0.01)


@pytest.mark.parametrize("mode", ["rotated", "paper"])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_share_of_positives_follows_the_training_rows(mode, quantile):
    data = make_drgrad_synthetic(ROWS, mode=mode, quantile=quantile)
    for label in data.split("train").labels.values():
        np.testing.assert_allclose(label.mean(), 1 - quantile, atol=1e-3)


def test_same_seed_same_rows():
    first, again = (make_drgrad_synthetic(220, seed=3) for _ in range(2))
    other = make_drgrad_synthetic(220, seed=4)
    for name in first.features:
        np.testing.assert_array_equal(first.features[name], again.features[name])
        assert (first.features[name] != other.features[name]).any()
    for name in first.labels:
        np.testing.assert_array_equal(first.labels[name], again.labels[name])


@pytest.mark.parametrize(("cos_theta", "same"), [(0.2, True), (-0.9, False)])
def test_labels_of_the_paper_follow_the_sign_of_cos_theta_alone(cos_theta, same):
    labels = make_drgrad_synthetic(ROWS, cos_theta=cos_theta, mode="paper").labels
    agree = (labels["label_1"] == labels["label_2"]).mean()
    assert (agree if same else 1 - agree) > 0.99


def test_sum_spreads_labels_32_times_wider():
    spread = [
        make_drgrad_synthetic(ROWS, mode="paper", aggregate=aggregate)
        .real_labels["label_1"]
        .std()
        for aggregate in ("mean", "sum")
    ]
    # The noise does not scale along; it is 0.5 % of the spread of the mean.
    np.testing.assert_allclose(spread[1] / spread[0], 32, rtol=1e-2)


def test_label_noise_flips_its_share_and_nothing_else():
    clean, noisy = (make_drgrad_synthetic(ROWS, label_noise=p) for p in (0.0, 0.05))
    np.testing.assert_array_equal(
        clean.real_labels["label_2"], noisy.real_labels["label_2"]
    )
    flipped = (clean.labels["label_2"] != noisy.labels["label_2"]).mean()
    np.testing.assert_allclose(flipped, 0.05, atol=0.01)


def test_fewer_rows_than_ids():
    data = make_drgrad_synthetic(22)
    assert len(data.split("test").labels["label_1"]) == 2
    assert np.isfinite(data.real_labels["label_2"]).all()


def test_as_dataset():
    data = make_drgrad_synthetic(44).split("train")
    (features, labels), *rest = data.as_dataset(batch_size=30)
    assert len(rest) == 1
    np.testing.assert_array_equal(features["sparse_6"], data.features["sparse_6"][:30])
    np.testing.assert_array_equal(labels["label_2"], data.labels["label_2"][:30])


@pytest.mark.parametrize(
    "argument",
    [
        {"num_rows": 21},
        {"cos_theta": 1.5},
        {"mode": "other"},
        {"aggregate": "max"},
        {"quantile": 1.0},
        {"label_noise": 0.6},
    ],
)
def test_errors_name_the_argument(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"`{name}` must be.*Received: {name}="):
        make_drgrad_synthetic(**argument)


def test_presets_differ_in_sign_alone():
    assert (
        drgrad_synthetic.PRESETS["cooperate"] == -drgrad_synthetic.PRESETS["conflict"]
    )


def test_registered_sets_are_of_their_mode():
    agreement = {}
    for info in drgrad_synthetic.INFOS:
        _, labels = info.load_columns("test", None, None)
        agreement[info.name] = np.mean(labels["label_1"] == labels["label_2"])
    # A cosine of 0.8 makes four of five labels agree, of whatever sign.
    assert agreement["drgrad_cooperate"] == pytest.approx(0.8, abs=0.02)
    assert agreement["drgrad_conflict"] == pytest.approx(0.2, abs=0.02)
    # Flips of one in twenty: 0.905 of pairs are as before, and the others turned.
    assert agreement["drgrad_cooperate_noisy"] == pytest.approx(0.743, abs=0.02)
    assert agreement["drgrad_cooperate_paper"] > 0.98
    assert agreement["drgrad_conflict_paper"] < 0.02
