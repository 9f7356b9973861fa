import pickle

import numpy as np
import pytest

from jaxvision.data.dataset import (
    ArrayDataset,
    DatasetError,
    ImageDataset,
    Subset,
    class_counts,
    fingerprint,
    label_kind,
)

IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)


def make(labels=(0, 1, 2, 1), class_names=("a", "b", "c"), **options):
    return ArrayDataset(IMAGES, labels, class_names, **options)


def test_arrays():
    dataset = make(groups=list("xxyz"))
    assert isinstance(dataset, ImageDataset)
    assert len(dataset) == 4
    assert dataset.read(1).shape == (2, 3, 1)
    np.testing.assert_array_equal(dataset.read(1)[..., 0], IMAGES[1])
    assert dataset.labels.dtype == np.int32
    assert dataset.names == ("0", "1", "2", "3")
    assert label_kind(dataset) == "multiclass"
    assert class_counts(dataset) == {"a": 1, "b": 2, "c": 1}


def test_kinds_of_labels():
    several = make([[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    assert label_kind(several) == "multilabel"
    assert several.labels.dtype == np.float32
    assert class_counts(several) == {"a": 1, "b": 3, "c": 2}
    numbers = make([0.5, 2, 3, 4], ())
    assert label_kind(numbers) == "regression"
    assert numbers.labels.dtype == np.float32
    assert label_kind(make(np.zeros((4, 2)), ())) == "regression"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES.astype(np.float32), [0] * 4, "ab"), "images must be uint8 .* got float32"),
        ((np.zeros((4, 3, 8, 8), np.uint8), [0] * 4, "ab"), "channels in their last axis, got \\(4, 3, 8, 8\\)"),
        ((IMAGES, [0, 1], "ab"), "4 pictures, but labels of shape \\(2,\\)"),
        ((IMAGES, [0, 1, 2, 1], "ab"), "from 0 to 1, .* got 0 to 2"),
        ((IMAGES, [0, 1, 0.5, 1], "ab"), "whole numbers"),
        ((IMAGES, np.full((4, 2), 2), "ab"), "zeros and ones of shape \\(n, 2\\)"),
        ((IMAGES, [1, 2, np.nan, 4], ()), "label 2 is nan"),
        ((IMAGES, list("abcd"), "abcd"), "labels must be numbers"),
        ((IMAGES, [0] * 4, "ab", ["x"]), "4 pictures, but 1 names"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(DatasetError, match=message):
        ArrayDataset(*arguments)


def test_subset():
    dataset = make(groups=list("xxyz"))
    subset = Subset(Subset(dataset, [3, 2, 0]), np.array([0, 2]))
    assert subset.dataset is dataset
    assert subset.indices.tolist() == [3, 0]
    assert subset.names == ("3", "0")
    assert subset.labels.tolist() == [1, 0]
    assert subset.groups.tolist() == ["z", "x"]
    assert class_counts(subset) == {"a": 1, "b": 1, "c": 0}
    np.testing.assert_array_equal(subset.read(0)[..., 0], IMAGES[3])
    assert isinstance(subset, ImageDataset)
    with pytest.raises(DatasetError, match="from 0 to 3, got 1 to 4"):
        Subset(dataset, [1, 4])
    assert len(Subset(dataset, [])) == 0


def reopened():
    return make(reopen=reopened)


def test_pickles():
    for dataset in (make(groups=list("xxyz")), Subset(make(), [2, 1])):
        copy = pickle.loads(pickle.dumps(dataset))
        assert fingerprint(copy) == fingerprint(dataset)
        np.testing.assert_array_equal(copy.read(1), dataset.read(1))
    assert pickle.loads(pickle.dumps(make(groups=list("xxyz")))).groups.tolist() == list("xxyz")
    sent = pickle.dumps(Subset(reopened(), [2, 1]))
    assert IMAGES[2].tobytes() not in sent
    np.testing.assert_array_equal(pickle.loads(sent).read(0)[..., 0], IMAGES[2])


def test_fingerprint_tells_data_apart():
    prints = {
        fingerprint(dataset)
        for dataset in (
            make(),
            make([0, 1, 2, 2]),
            make(class_names=("a", "b", "d")),
            make(names=["0", "1", "2", "4"]),
            make(names=["01", "", "2", "3"]),
            make([0.0, 1, 2, 1], ()),
            Subset(make(), [0, 1, 3, 2]),
        )
    }
    assert len(prints) == 7
    # Also in another run, whatever Python's hash seed.
    assert fingerprint(make()) == "3128a07a6d325589"
    assert fingerprint(ArrayDataset(IMAGES + 1, (0, 1, 2, 1), ("a", "b", "c"))) == fingerprint(make())
