import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data.dataset import ArrayDataset, DatasetError
from jaxvision.data.splits import split


def make(labels, classes=None, groups=None):
    labels = np.asarray(labels)
    names = () if classes is None else tuple(f"class {number}" for number in range(classes))
    return ArrayDataset(np.zeros((len(labels), 1, 1), np.uint8), labels, names, groups=groups)


def is_a_division(parts, count):
    return sorted(np.concatenate([part.indices for part in parts.values()]).tolist()) == list(range(count))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    val=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
    test=st.sampled_from([0.1, 0.2, 0.4]),
    seed=st.integers(0, 100),
)
def test_every_part_has_its_share_of_every_class(sizes, val, test, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if len(labels) < 3:
        return
    parts = split(make(labels, len(sizes)), {"val": val, "test": test}, seed=seed)
    assert is_a_division(parts, len(labels))
    for name, share in (("train", 1 - val - test), ("val", val), ("test", test)):
        assert len(parts[name]) >= 1
        assert abs(len(parts[name]) - share * len(labels)) <= 2
        counts = np.bincount(parts[name].labels, minlength=len(sizes))
        assert np.all(np.abs(counts - share * np.array(sizes)) <= 2)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=12, max_size=80),
    stratify=st.booleans(),
    seed=st.integers(0, 100),
)
def test_no_group_is_divided(groups, stratify, seed):
    labels = np.random.default_rng(seed).integers(0, 3, len(groups))
    dataset = make(labels, 3, [f"patient {number}" for number in groups])
    if len(set(groups)) < 3:
        with pytest.raises(DatasetError, match="groups cannot be divided into 3 parts"):
            split(dataset, {"val": 0.2, "test": 0.2})
        return
    parts = split(dataset, {"val": 0.2, "test": 0.2}, stratify=stratify, seed=seed)
    assert is_a_division(parts, len(groups))
    sets = [set(part.groups.tolist()) for part in parts.values()]
    assert all(sets)
    assert sum(map(len, sets)) == len(set(groups))


def test_groups_are_stratified():
    """60 patients of 1 to 20 slices, a third of the patients ill: both in size and in illness the parts agree."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), rng.integers(1, 21, 60))
    parts = split(make((patient % 3 == 0).astype(int), 2, patient.astype(str)), {"val": 0.2, "test": 0.1}, seed=1)
    ill = np.mean(patient % 3 == 0)
    for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert len(parts[name]) / len(patient) == pytest.approx(share, abs=0.03)
        assert parts[name].labels.mean() == pytest.approx(ill, abs=0.05)


def test_several_labels_and_numbers_are_stratified():
    rng = np.random.default_rng(0)
    rates = np.array([0.5, 0.1, 0.02])
    several = (rng.random((500, 3)) < rates).astype(np.float32)
    parts = split(make(several, 3), {"val": 0.2})
    np.testing.assert_allclose(parts["val"].labels.sum(0), 0.2 * several.sum(0), atol=3)
    numbers = rng.lognormal(size=500)
    parts = split(make(numbers), {"val": 0.2})
    deciles = np.quantile(numbers, np.linspace(0, 1, 11)[1:-1])
    counts = np.bincount(np.searchsorted(deciles, parts["val"].labels), minlength=10)
    assert counts.tolist() == pytest.approx([10] * 10, abs=2)
    assert len(split(make(np.stack([numbers, numbers], 1)), {"val": 0.2})["val"]) == 100


def test_rare_classes_are_trained_on():
    """scikit-learn refuses both: a class with one example, and a part smaller than the number of classes."""
    labels = np.concatenate([np.arange(40), np.repeat(np.arange(40, 60), 5)])
    parts = split(make(labels, 60), {"val": 0.1})
    assert set(parts["train"].labels.tolist()) == set(range(60))
    assert len(parts["val"]) == 14


def test_the_same_seed_gives_the_same_parts():
    dataset = make(np.arange(200) % 4, 4)
    first, again, other = (split(dataset, {"val": 0.25}, seed=seed)["val"].indices for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.tolist() == sorted(first.tolist())
    # A part is a random choice within each class, not its beginning.
    assert np.ptp(first) > 150
    unstratified = split(dataset, {"val": 0.25}, stratify=False)["val"]
    assert len(unstratified) == 50
    assert len(set(np.bincount(unstratified.labels).tolist())) > 1
    assert pickle.loads(pickle.dumps(unstratified)).indices.tolist() == unstratified.indices.tolist()


@pytest.mark.parametrize("fractions", [{"val": 1.0}, {"val": 0.5, "test": 0.5}, {"val": 0}, {"train": 0.5}])
def test_impossible_shares(fractions):
    with pytest.raises(DatasetError, match="must be between 0 and 1, their sum below 1"):
        split(make([0, 1] * 10, 2), fractions)


def test_too_few_examples():
    with pytest.raises(DatasetError, match="2 examples cannot be divided into 3 parts \\(train, val, test\\)"):
        split(make([0, 1], 2), {"val": 0.1, "test": 0.1})
