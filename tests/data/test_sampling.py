import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxvision.data.sampling import balanced_class_weights, epoch_order, epoch_size

LABELS = np.array([0] * 10 + [2] * 4 + [1] * 7, np.int32)  # class 3 of some data set has no example


def test_an_epoch_shows_everything_once_in_a_new_order():
    first, second = (epoch_order(LABELS, "none", 0, epoch) for epoch in (0, 1))
    np.testing.assert_array_equal(np.sort(first), np.arange(21))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_order(LABELS, "none", 1, 0))
    np.testing.assert_array_equal(first, epoch_order(LABELS, "none", 0, 0))
    np.testing.assert_array_equal(epoch_order(LABELS, "none", 0, 0, shuffle=False), np.arange(21))


def test_oversampling_repeats_all_equally_often():
    orders = [epoch_order(LABELS, "oversample", 0, epoch) for epoch in range(6)]
    for order in orders:
        assert len(order) == epoch_size(LABELS, "oversample") == 30
        np.testing.assert_array_equal(np.bincount(LABELS[order]), [10, 10, 10])
        shown = np.bincount(order)
        assert set(shown[LABELS == 0]) == {1}
        assert set(shown[LABELS == 1]) == {1, 2}
        assert set(shown[LABELS == 2]) == {2, 3}
    assert len({tuple(np.bincount(order)) for order in orders}) > 1  # the remainder is drawn anew


def test_undersampling_draws_anew_and_without_repetition():
    orders = [epoch_order(LABELS, "undersample", 3, epoch) for epoch in range(12)]
    for order in orders:
        assert len(order) == len(set(order)) == epoch_size(LABELS, "undersample") == 12
        np.testing.assert_array_equal(np.bincount(LABELS[order]), [4, 4, 4])
    assert set(np.concatenate(orders)) == set(range(21))
    unshuffled = epoch_order(LABELS, "undersample", 3, 0, shuffle=False)
    np.testing.assert_array_equal(unshuffled, np.sort(unshuffled))


def test_an_absent_class_or_no_data_at_all_is_no_trouble():
    np.testing.assert_array_equal(
        np.bincount(np.array([1, 1, 3])[epoch_order(np.array([1, 1, 3]), "oversample", 0, 0)]), [0, 2, 0, 2]
    )
    for sampling in ("none", "oversample", "undersample"):
        assert epoch_size(LABELS[:0], sampling) == len(epoch_order(LABELS[:0], sampling, 0, 0)) == 0


def test_sampling_by_class_needs_classes():
    for labels in (np.zeros((4, 3), np.float32), np.zeros(4, np.float32)):
        assert len(epoch_order(labels, "none", 0, 0)) == 4
        with pytest.raises(ValueError, match="'oversample' needs one class per example"):
            epoch_order(labels, "oversample", 0, 0)
        with pytest.raises(ValueError, match="'balanced' needs one class per example"):
            balanced_class_weights(labels, 3)
    with pytest.raises(ValueError, match="did you mean 'oversample'"):
        epoch_size(LABELS, "over-sample")


def test_balanced_weights_are_scikit_learns():
    weights = balanced_class_weights(LABELS, 3)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=LABELS), rtol=1e-6)
    assert weights.dtype == np.float32
    with pytest.raises(ValueError, match="class 3 of 4 has no example"):
        balanced_class_weights(LABELS, 4)
    with pytest.raises(ValueError, match="labels go up to 2"):
        balanced_class_weights(LABELS, 2)
