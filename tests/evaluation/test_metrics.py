import json

import numpy as np
import pytest
from sklearn import metrics

from jaxvision.evaluation.calibration import reliability
from jaxvision.evaluation.classification_report import classification_report_text
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.metrics import (
    evaluate_classification,
    evaluate_multilabel,
    evaluate_regression,
    from_confusion_matrix,
)

COVID = ([[338, 162], [45, 955]], ("Non-COVID", "COVID"))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def case(n=400, k=7, seed=0, signal=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += signal
    return labels, softmax(logits).astype(np.float32), tuple(f"class {i}" for i in range(k))


def test_the_published_report_is_reproduced():
    assert classification_report_text(from_confusion_matrix(*COVID)) == (
        "              precision    recall  f1-score   support\n"
        "\n"
        "   Non-COVID       0.88      0.68      0.77       500\n"
        "       COVID       0.85      0.95      0.90      1000\n"
        "\n"
        "    accuracy                           0.86      1500\n"
        "   macro avg       0.87      0.82      0.83      1500\n"
        "weighted avg       0.86      0.86      0.86      1500\n"
    )


@pytest.mark.parametrize("digits", [2, 4])
@pytest.mark.parametrize("k", [2, 7])
def test_text_is_scikit_learns(k, digits):
    labels, p, names = case(k=k)
    expected = metrics.classification_report(labels, p.argmax(1), target_names=names, digits=digits)
    assert classification_report_text(evaluate_classification(labels, p, names), digits) == expected


@pytest.mark.parametrize("k", [2, 3, 7])
def test_everything_agrees_with_scikit_learn(k):
    labels, p, names = case(k=k)
    result = evaluate_classification(labels, p, names)
    predicted = p.argmax(axis=1)
    truth = np.eye(k)[labels]
    auroc = metrics.roc_auc_score(labels, p[:, 1]) if k == 2 else metrics.roc_auc_score(truth, p, average="macro")
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "mcc": metrics.matthews_corrcoef(labels, predicted),
        "auroc": auroc,
        "average_precision": metrics.average_precision_score(labels, p[:, 1]) if k == 2 else None,
        "log_loss": metrics.log_loss(labels, p.astype(np.float64) / p.sum(axis=1, keepdims=True, dtype=np.float64)),
        "brier": metrics.brier_score_loss(labels, p[:, 1]) if k == 2 else ((p - truth) ** 2).sum(axis=1).mean(),
        "top5": metrics.top_k_accuracy_score(labels, p, k=5) if k > 5 else None,
    }
    for name, value in expected.items():
        assert getattr(result, name) == (None if value is None else pytest.approx(value, abs=1e-6)), name
    np.testing.assert_array_equal(result.confusion_matrix, metrics.confusion_matrix(labels, predicted))
    columns = metrics.precision_recall_fscore_support(labels, predicted)
    for row, *scores in zip(result.rows(), *columns, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(scores)
    assert not result.undefined
    assert result.count == 400


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 0])
    # 0.9 lies in (13/15, 14/15]: half right; 0.7 in (10/15, 11/15]: right; 0.6 is the edge of (8/15, 9/15]: wrong.
    assert reliability(labels, p).ece == pytest.approx((2 * 0.4 + 0.3 + 0.6) / 4)
    assert reliability(labels, p).counts.tolist() == [0] * 8 + [1, 0, 1, 0, 0, 2, 0]


def test_a_calibrated_forecast_has_no_ece():
    rng = np.random.default_rng(0)
    p1 = rng.uniform(size=200_000)
    labels = (rng.uniform(size=p1.size) < p1).astype(int)
    assert evaluate_classification(labels, p1, ("no", "yes")).ece < 0.006
    overconfident = np.where(p1 > 0.5, 0.99, 0.01)
    assert evaluate_classification(labels, overconfident, ("no", "yes")).ece == pytest.approx(0.24, abs=0.01)


def test_one_column_is_the_second_class():
    labels, p, names = case(k=2)
    both = evaluate_classification(labels, p, names)
    for one in (p[:, 1], p[:, 1:]):
        np.testing.assert_equal(evaluate_classification(labels, one, names).to_json()["auroc"], both.auroc)


def test_threshold_decides():
    labels, p, names = case(k=2)
    result = evaluate_classification(labels, p, names, threshold=0.2)
    np.testing.assert_array_equal(result.confusion_matrix, metrics.confusion_matrix(labels, p[:, 1] >= 0.2))
    assert result.threshold == 0.2
    assert result.ece == evaluate_classification(labels, p, names).ece
    with pytest.raises(ValueError, match="a threshold needs two classes, but there are 7"):
        evaluate_classification(*case(k=7), threshold=0.5)


def test_absent_classes_are_left_out_and_named():
    labels, p, names = case(k=7)
    keep = (labels != 2) & (labels != 5)
    labels, p = labels[keep], p[keep]
    result = evaluate_classification(labels, p, names)
    assert result.absent == ("class 2", "class 5")
    assert result.auroc is None
    assert result.undefined["auroc"] == "needs examples of every class; there is none of class 2, class 5"
    present = [0, 1, 3, 4, 6]
    scores = metrics.precision_recall_fscore_support(labels, p.argmax(1), labels=present, average="macro")
    assert [result.macro.precision, result.macro.recall, result.macro.f1] == pytest.approx(scores[:3])
    scores = metrics.precision_recall_fscore_support(labels, p.argmax(1), labels=present, average="weighted")
    assert [result.weighted.precision, result.weighted.recall, result.weighted.f1] == pytest.approx(scores[:3])
    row = result.rows()[2]
    assert (row["recall"], row["precision"], row["f1"], row["support"]) == (None, 0.0, 0.0, 0)
    assert "     class 2       0.00         -      0.00         0\n" in classification_report_text(result)


def test_never_predicted():
    result = from_confusion_matrix([[3, 0], [2, 0]], ("a", "b"))
    assert result.rows()[1] == {"class": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    assert result.mcc is None
    assert "one class" in result.undefined["mcc"]


def test_one_example_and_json_without_nan():
    for names, p in ((("a", "b"), [[0.2, 0.8]]), (tuple("abcdefg"), [[0.4] + [0.1] * 6])):
        result = evaluate_classification(np.array([1]), np.array(p), names)
        document = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert document["count"] == 1
        assert document["auroc"] is None
        assert document["per_class"][0]["recall"] is None
        assert result.accuracy == (1.0 if len(names) == 2 else 0.0)


def test_ties_go_to_the_first_class():
    p = np.full((6, 6), 1 / 6)
    result = evaluate_classification(np.arange(6), p, tuple("abcdef"))
    assert result.confusion_matrix[:, 0].tolist() == [1] * 6
    assert result.top5 == pytest.approx(5 / 6)
    assert result.auroc == pytest.approx(0.5)


def test_matthews_does_not_overflow():
    large = from_confusion_matrix(np.array(COVID[0]) * 10**8, COVID[1])
    assert large.mcc == pytest.approx(from_confusion_matrix(*COVID).mcc)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": [[0.5, np.nan], [0.5, 0.5]]}, r"1 of 2 examples are not finite \(first: example 0\)"),
        ({"probabilities": [[0.5, 0.5], [3.0, -1.0]]}, "example 1 go down to -1 .*not logits"),
        ({"probabilities": [[0.5, 0.6], [0.5, 0.5]]}, "example 0 sum to 1.1 .*not logits"),
        ({"probabilities": [0.5, 1.5]}, r"in \[0, 1\], got values from 0.5 to 1.5.*sigmoid"),
        ({"probabilities": np.zeros((0, 2))}, "no example"),
        ({"labels": [0, 2]}, r"label of example 1 is 2, but there are 2 classes"),
        ({"labels": [0.0, 1.0]}, "integers.*float64"),
        ({"labels": [0]}, r"shape \(2,\)"),
        ({"class_names": ("a", "b", "c")}, "3 names were given for 2 classes"),
        ({"class_names": ("a", "a")}, "'a' come more than once"),
    ],
)
def test_refusals(change, message):
    given = {"labels": [0, 1], "probabilities": [[0.9, 0.1], [0.2, 0.8]], "class_names": ("a", "b")} | change
    with pytest.raises(ValueError, match=message):
        evaluate_classification(np.array(given["labels"]), np.array(given["probabilities"]), given["class_names"])


@pytest.mark.parametrize("matrix", [[[1, 2]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], [[0.5, 0.5], [0, 1]]])
def test_refused_matrices(matrix):
    with pytest.raises(ValueError, match="confusion matrix"):
        from_confusion_matrix(np.array(matrix), ("a", "b"))


def test_wilson_interval():
    # Newcombe (1998), table I: 81/263, 15/148, 0/20, 1/29 by method 3.
    for x, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(x, n) == pytest.approx((low, high), abs=5e-5)


def test_multilabel_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=(300, 4)) < [0.5, 0.3, 0.1, 0.7]).astype(np.float32)
    p = np.clip(0.5 * y + rng.uniform(0, 0.6, size=y.shape), 0, 1)
    result = evaluate_multilabel(y, p, tuple("abcd"))
    said = p >= 0.5
    assert result.mean_average_precision == pytest.approx(metrics.average_precision_score(y, p, average="macro"))
    assert result.auroc == pytest.approx(metrics.roc_auc_score(y, p, average="macro"))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert result.micro_f1 == pytest.approx(metrics.f1_score(y, said, average="micro"))
    assert result.exact_match == pytest.approx(metrics.accuracy_score(y, said))
    assert result.hamming_loss == pytest.approx(metrics.hamming_loss(y, said))
    assert result.log_loss == pytest.approx(metrics.log_loss(y.ravel(), p.ravel()))
    for row, *scores in zip(result.rows(), *metrics.precision_recall_fscore_support(y, said), strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(scores)


def test_multilabel_without_positives_or_negatives():
    result = evaluate_multilabel(np.array([[0, 1, 0]]), np.array([[0.1, 0.9, 0.7]]), ("none", "all", "wrong"))
    none, everything, wrong = result.rows()
    assert (none["average_precision"], none["auroc"], none["f1"], none["precision"]) == (None, None, None, None)
    assert (everything["average_precision"], everything["auroc"], everything["f1"]) == (1.0, None, 1.0)
    assert (wrong["precision"], wrong["recall"], wrong["f1"]) == (0.0, None, 0.0)
    assert (result.mean_average_precision, result.macro_f1, result.exact_match) == (1.0, 1.0, 0.0)
    assert result.undefined == {"auroc": "no label has the examples it needs"}
    json.dumps(result.to_json(), allow_nan=False)


def test_regression():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 2))
    p = y + rng.normal(size=y.shape) * [0.1, 0.5] + [0, 0.2]
    result = evaluate_regression(y, p, np.full_like(y, 0.25), ("x", "y"))
    assert result.mae == pytest.approx(metrics.mean_absolute_error(y, p))
    assert result.r2 == pytest.approx(metrics.r2_score(y, p))
    assert result.rmse == pytest.approx(metrics.mean_squared_error(y, p) ** 0.5)
    rows = result.rows()
    assert rows[1]["rmse"] == pytest.approx(metrics.mean_squared_error(y[:, 1], p[:, 1]) ** 0.5)
    assert rows[1]["bias"] == pytest.approx(0.2, abs=0.1)
    density = np.exp(-((y - p) ** 2) / 0.5) / np.sqrt(2 * np.pi * 0.25)
    assert result.nll == pytest.approx(-np.log(density).mean())
    assert evaluate_regression(y[:, 0], p[:, :1]).target_names == ("target",)
    constant = evaluate_regression(np.ones(3), np.array([1.0, 2.0, 3.0]))
    assert (constant.r2, constant.nll, constant.undefined) == (None, None, {"r2": "no target varies"})
    with pytest.raises(ValueError, match="not their logarithms"):
        evaluate_regression(y, p, np.full_like(y, -1.0))
    with pytest.raises(ValueError, match=r"shape, \(200, 2\), got \(200,\)"):
        evaluate_regression(y, p[:, 0])
