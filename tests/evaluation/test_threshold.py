import numpy as np
import pytest

from jaxvision.evaluation.threshold import ThresholdError, choose_threshold, operating_point


def case(n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=n) < 0.3).astype(int)
    return labels, np.clip(np.round(rng.normal(0.4 + 0.25 * labels, 0.15), 2), 0, 1)  # rounded, so that there are ties


def every_point(labels, p):
    cuts = np.concatenate([np.unique(p), [1.1]])
    return [operating_point(labels, p, cut) for cut in cuts]


VALUES = {
    "f1": lambda o: o.f1,
    "youden": lambda o: o.recall + o.specificity - 1,
    "balanced_accuracy": lambda o: o.balanced_accuracy,
    "recall>=0.95": lambda o: o.precision if o.recall >= 0.95 else -1,
    "specificity>=0.9": lambda o: o.recall if o.specificity >= 0.9 else -1,
    "precision>=0.7": lambda o: o.recall if (o.precision or 0) >= 0.7 else -1,
    "cost:FN/FP=10": lambda o: -(10 * o.fn + o.fp),
    "cost:FN/FP=0.1": lambda o: -(0.1 * o.fn + o.fp),
}


@pytest.mark.parametrize("criterion", VALUES)
@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_is_better(criterion, seed):
    labels, p = case(seed=seed)
    chosen = choose_threshold(labels, p, criterion)
    assert operating_point(labels, p, chosen.value) == chosen.achieved
    best = max(VALUES[criterion](point) for point in every_point(labels, p))
    assert VALUES[criterion](chosen.achieved) == pytest.approx(best)
    assert chosen.to_json()["achieved"]["recall"] == chosen.achieved.recall


def test_midway_and_nearest_to_a_half():
    labels, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert choose_threshold(labels, p).value == pytest.approx(0.5)
    # 0.15 and 0.75 have the same recall + specificity
    assert choose_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.6, 0.9]), "youden").value == pytest.approx(
        0.75
    )
    never = choose_threshold(np.array([1, 0, 0]), np.array([0.3, 1.0, 1.0]), "cost:FN/FP=0.1")
    assert never.value > 1
    assert (never.achieved.precision, never.achieved.recall) == (None, 0.0)


def test_neighbouring_floats_are_told_apart():
    low = 0.7
    high = np.nextafter(low, 1)
    chosen = choose_threshold(np.array([0, 1]), np.array([low, high]))
    assert chosen.achieved.f1 == 1.0
    assert operating_point(np.array([0, 1]), np.array([low, high]), chosen.value) == chosen.achieved


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("f2", "unknown criterion 'f2'; did you mean 'f1'"),
        ("recal>=0.9", "did you mean 'recall>=0.95'"),
        ("recall>=1.5", "greater than 0 and at most 1"),
        ("recall>=1e", "'1e' is not a number"),
        ("cost:FN/FP=0", "greater than 0"),
    ],
)
def test_bad_criteria(criterion, message):
    with pytest.raises(ThresholdError, match=message):
        choose_threshold(*case(), criterion)


def test_infeasible():
    labels, p = np.array([1, 0, 0, 1]), np.array([0.2, 0.9, 0.3, 0.1])
    with pytest.raises(ThresholdError, match=r"reaches precision>=0.9: the best precision is 0.500, with recall 1.000"):
        choose_threshold(labels, p, "precision>=0.9")
    with pytest.raises(ThresholdError, match="all 3 examples are of class 1"):
        choose_threshold(np.ones(3, int), np.full(3, 0.5))
    with pytest.raises(ValueError, match="not finite"):
        choose_threshold(np.array([0, 1]), np.array([0.1, np.inf]))
