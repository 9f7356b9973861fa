"""Dividing data into a part to train on, one to choose by (validation) and one to test.

One greedy rule serves classes, several labels and numbers, with groups and without: units (groups, or single examples)
in random order, the large ones first, each goes to the part whose label counts it brings closest to their share, by
chi-square. scikit-learn's StratifiedGroupKFold is greedy in the same way, after Sechidis et al. (2011, "On the
stratification of multi-label data"), but makes equal parts only; its GroupShuffleSplit does not stratify, and its
train_test_split refuses a class with one example and parts smaller than the number of classes.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from jaxvision.data.dataset import DatasetError, ImageDataset, Subset, label_kind

_BINS = 10  # numbers are stratified by their deciles


def split(
    dataset: ImageDataset,
    fractions: Mapping[str, float],
    *,
    stratify: bool = True,
    seed: int = 0,
) -> dict[str, Subset]:
    """Divides a data set at random, the same way each time.

    Groups are never divided, where the data set has some.

    Args:
        dataset: the data.
        fractions: the share of each part, such as ``{"val": 0.1, "test": 0.2}``; the rest is ``"train"``.
        stratify: keep the proportions of the classes (of the deciles, for numbers) in every part, as far as groups
            and counts allow.
        seed: of the random order.

    Returns:
        ``"train"`` and the parts of ``fractions``; each keeps the order of the data, and none is empty.

    Raises:
        DatasetError: the fractions leave nothing to train on, or there are fewer groups or examples than parts.
    """
    if "train" in fractions or not all(0 < share < 1 for share in fractions.values()) or sum(fractions.values()) >= 1:
        raise DatasetError(
            f"the shares of the parts beside train must be between 0 and 1, their sum below 1; got {dict(fractions)}"
        )
    parts = ["train", *fractions]
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    if dataset.groups is None:
        unit, what = np.arange(len(dataset)), "examples"
    else:
        unit, what = np.unique(dataset.groups, return_inverse=True)[1].reshape(-1), "groups"
    units = int(unit.max(initial=-1)) + 1
    if units < len(parts):
        raise DatasetError(
            f"{units} {what} cannot be divided into {len(parts)} parts ({', '.join(parts)}): give named splits, "
            "or ask for fewer parts"
        )
    part = _assign(unit, *_strata(dataset, stratify), shares, np.random.default_rng(seed))[unit]
    return {name: Subset(dataset, np.flatnonzero(part == number)) for number, name in enumerate(parts)}


def _strata(dataset: ImageDataset, stratify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an example and a stratum that it is in: its classes, or the decile of its (first) number."""
    everyone = np.arange(len(dataset))
    if not stratify:
        return everyone[:0], everyone[:0]
    kind = label_kind(dataset)
    if kind == "multilabel":
        example, stratum = np.nonzero(dataset.labels)
        return example, stratum
    if kind == "multiclass":
        return everyone, dataset.labels
    numbers = dataset.labels if dataset.labels.ndim == 1 else dataset.labels[:, 0]
    borders = np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1])
    return everyone, np.searchsorted(borders, numbers, side="right")


def _assign(
    unit: Int[np.ndarray, " examples"],
    example: Int[np.ndarray, " pairs"],
    stratum: Int[np.ndarray, " pairs"],
    shares: Float[np.ndarray, " parts"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " units"]:
    """The part that each unit goes to; besides the given strata there is one for all examples."""
    strata = int(stratum.max(initial=-1)) + 2
    rows, columns = np.concatenate([unit[example], unit]), np.concatenate([stratum, np.full(len(unit), strata - 1)])
    # How many examples of each stratum each unit has, as a sparse matrix: there may be a million units, and classes.
    cells, counts = np.unique(rows.astype(np.int64) * strata + columns, return_counts=True)
    row, column = np.divmod(cells, strata)
    sizes = np.bincount(unit)
    start = np.searchsorted(row, np.arange(len(sizes) + 1))
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    target = shares[:, None] * np.bincount(column, weights=counts, minlength=strata)
    filled = np.zeros_like(target)
    members = np.zeros(len(shares), np.int64)
    part = np.zeros(len(sizes), np.int64)
    for place, one in enumerate(order):
        here = slice(start[one], start[one + 1])
        own, new = column[here], counts[here]
        # By how much chi-square, sum (filled - target)^2 / target, changes in each part, but for a common constant.
        change = ((2 * filled[:, own] + new) * new / target[:, own]).sum(axis=1)
        if len(order) - place <= np.sum(members == 0):
            change[members > 0] = np.inf  # what is left is needed for the parts that are still empty
        chosen = int(np.argmin(change))
        part[one] = chosen
        filled[chosen, own] += new
        members[chosen] += 1
    return part
