import json

import jax
import numpy as np
import pytest
from flax import nnx

from jaxvision import uncertainty as uq
from jaxvision.uncertainty import metrics
from jaxvision.uncertainty.calibration import Calibrated
from jaxvision.uncertainty.candidates import Candidate
from jaxvision.uncertainty.conformal import ConformalIntervals, ConformalSets
from jaxvision.uncertainty.overlap import RowSketch
from jaxvision.uncertainty.report import write_uncertainty_report
from jaxvision.uncertainty.report.class_findings import softened
from jaxvision.uncertainty.report.compare import paired_difference
from jaxvision.uncertainty.results import ClassificationPrediction, RegressionPrediction
from jaxvision.uncertainty.scale import Scale
from tests.evaluation.pages import checked_page, rows

NASTY = "<b>cat & 'dog'</b>"
CLASSES = (NASTY, "two", "three")


class Mlp(nnx.Module):
    def __init__(self, outputs=3):
        self.fc = nnx.Linear(4, 8, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(8, outputs, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.head(nnx.relu(self.fc(x)))


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def prediction(n=60, shape=(3,), seed=0, labels=None, spread=1.0):
    """Of random logits, counted as `ClassificationPrediction` says."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, *shape))
    if labels is not None:
        logits += 1.5 * np.eye(shape[-1])[labels]
    passes, plain = softmax(logits + 0.6 * rng.normal(size=(20, *logits.shape))), softmax(logits)
    votes = np.eye(shape[-1])[passes.argmax(-1)].mean(0)
    own = np.take_along_axis(votes, plain.argmax(-1)[..., None], -1)[..., 0]
    return ClassificationPrediction(
        probs=passes.mean(0),
        log_probs=np.log(passes.mean(0)),
        variance=passes.var(0, ddof=1),
        expected_entropy=-(passes * np.log(passes)).sum(-1).mean(0),
        variation_ratio=1 - votes.max(-1),
        flip_rate=1 - own,
        deterministic_log_probs=np.log(plain),
        num_samples=np.int32(20),
    )


def calibrated(task, candidates, result, sweep):
    """What `tune` returns, without the tuning."""
    net = uq.inject(Mlp(1 if task == "regression" else 3), "fc", rate=result.rate, task=task)
    sketch = RowSketch.of(np.arange(5, dtype=np.uint64))
    return Calibrated(net, result, sweep, candidates, 20, "tuned on 100 rows, none set aside", sketch)


def pictures(index):
    if index % 5 == 2:
        raise OSError("gone")
    return np.full((9, 7, 3), index % 255, np.uint8)


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """The page with everything there is."""
    y = np.random.default_rng(1).integers(0, 3, 60)
    pred, outside = prediction(labels=y), prediction(seed=2, spread=0.5)
    sweep = tuple(Candidate("MC", nll, rate, temperature=2.0) for rate, nll in ((0.01, 0.8), (0.1, 0.7), (0.3, None)))
    baselines = (
        Candidate("deterministic softmax", 0.9, temperature=1.0, baseline=True),
        Candidate("temperature-scaled softmax", 0.75, temperature=1.7, baseline=True),
        Candidate("averaged softmax", 0.85, 0.1, temperature=1.0, baseline=True),
    )
    cal = calibrated("classification", (*baselines, sweep[1]), sweep[1], sweep)
    sets = ConformalSets("lac", alpha=0.2, quantile=0.7, num_rows=99, num_classes=3)
    path = write_uncertainty_report(
        tmp_path_factory.mktemp("classified") / "deep",
        title=f"A {NASTY} report",
        task="classification",
        names=[f"{i}<i>.png" for i in range(60)],
        class_names=CLASSES,
        labels=y,
        prediction=pred,
        calibration=cal,
        settings={"model": {"name": "<mlp>"}},
        pictures=pictures,
        out_of_distribution=("far <away>", outside),
        notes=["One <note>."],
        conformal=sets,
    )
    return path, cal, pred, y, sets, outside


def test_the_page_of_classes_says_what_the_numbers_say(classified):
    path, cal, pred, y, sets, outside = classified
    text = checked_page(path).text
    probs = np.asarray(pred.probs)
    wrong = probs.argmax(1) != y
    order = np.argsort(-probs.max(1))[:48]
    mi = np.asarray(pred.mutual_information)
    plain = softmax(np.log(pred.deterministic_probs) * cal.temperature)
    for words in (
        f"{60 - wrong.sum()} of 60 examples are predicted correctly: {1 - wrong.mean():.1%}",
        f"differ by {float(metrics.ece(probs, y)):.3f} on average (ECE), those of the network as it was by "
        f"{float(metrics.ece(plain, y)):.3f}",
        f"from {1 - wrong.mean():.1%} to {1 - wrong[order].mean():.1%}; chosen by",
        f"mutual information is {mi[wrong].mean():.4f} nats there and {mi[~wrong].mean():.4f} where it is right",
        "of “far <away>”, which the network should not know, are told from these with an AUROC of "
        f"{float(metrics.auroc(mi, outside.mutual_information)):.3f} by mutual information",
        f"made to hold the truth in 80% of all cases, hold it in {sets.evaluate(probs, y)['coverage']:.1%}",
        "rate 0.1, 20 passes. Tuned on 100 rows, none set aside.",
        "One <note>.",
        "model.name <mlp>",
        "not a Bayesian posterior",
        "cannot be shown: gone",
    ):
        assert words in text, words


def test_the_files_of_classes_hold_every_number(classified):
    path, cal, pred, y, sets, outside = classified
    expected = (
        "certain.png disputed.png entropy.png out_of_distribution.png rates.png reliability.png report.html "
        "risk_coverage.png tuning.csv uncertain.png uncertainty.csv uncertainty.json"
    )
    assert sorted(file.name for file in path.parent.iterdir()) == expected.split()
    table = rows(path.parent / "uncertainty.csv")
    assert [row["label"] for row in table] == [CLASSES[label] for label in y]
    for column, values in {
        "confidence": pred.confidence,
        "entropy": pred.entropy,
        "expected_entropy": pred.expected_entropy,
        "mutual_information": pred.mutual_information,
        "variation_ratio": pred.variation_ratio,
        "flip_rate": pred.flip_rate,
        "deterministic_confidence": pred.deterministic_probs.max(-1),
    }.items():
        np.testing.assert_allclose([float(row[column]) for row in table], values, atol=1e-6, err_msg=column)
    members = np.asarray(sets.predict_sets(pred.probs))
    assert [int(row["set_size"]) for row in table] == members.sum(1).tolist()
    assert [row["set"] for row in table] == [" | ".join(np.array(CLASSES)[row]) for row in members]

    document = json.loads((path.parent / "uncertainty.json").read_text())
    result = document["result"]
    assert list(result["methods"]) == ["deterministic softmax", "temperature-scaled softmax", result["main"]]
    own = metrics.classification_metrics(pred.probs, y, log_probs=pred.log_probs)
    assert result["methods"][result["main"]] == pytest.approx({k: float(v) for k, v in own.items()}, abs=1e-6)
    for name, baseline in cal.baselines.items():
        if baseline["rate"] is None:
            heat = cal.temperature / baseline["temperature"]
            own_probs = softmax(np.log(pred.deterministic_probs) * heat)[np.arange(60), y]
            nll = -np.log(own_probs).mean()
            assert result["methods"][name]["nll"] == pytest.approx(nll, rel=1e-4)
    gap = result["nll_difference"]
    assert gap["other"] == "temperature-scaled softmax"
    assert gap["mean"] == pytest.approx(float(own["nll"]) - result["methods"][gap["other"]]["nll"], abs=1e-5)
    ood = metrics.ood_metrics(pred.entropy, outside.entropy)
    scores = result["out_of_distribution"]["scores"]["predictive entropy"]
    assert scores == pytest.approx({name: float(value) for name, value in ood.items()}, abs=1e-6)
    assert document["calibration"]["split"] == cal.split


def test_pictures_are_in_order_of_certainty(classified):
    path, _, pred, *_ = classified
    page = checked_page(path)
    alts = [image["alt"].split(": ")[0] for image in page.all("img") if ": true " in image["alt"]]
    shown = [
        i for order in (pred.confidence, -pred.mutual_information, -pred.confidence) for i in np.argsort(order)[:8]
    ]
    assert alts == [f"{i}<i>.png" for i in shown if i % 5 != 2]


def test_without_labels_only_the_uncertainty_is_shown(tmp_path):
    pred = prediction()
    path = write_uncertainty_report(
        tmp_path, title="U", task="classification", names=[str(i) for i in range(60)], class_names=CLASSES,
        labels=None, prediction=pred,
    )  # fmt: skip
    text = checked_page(path).text
    least = int(pred.confidence.argmin())
    assert f"least sure of “{least}”" in text
    assert "No calibration was given" in text
    assert "predicted correctly" not in text
    assert "true" not in text.split()
    assert "label" not in rows(tmp_path / "uncertainty.csv")[0]
    assert not (tmp_path / "risk_coverage.png").exists()


def test_each_label_of_several_is_a_decision(tmp_path):
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=(30, 2)) < 0.4).astype(np.float32)
    pred = prediction(30, (2, 2), labels=labels.astype(int))
    path = write_uncertainty_report(
        tmp_path, title="M", task="multilabel", names=[f"n{i}" for i in range(30)], class_names=("a", "b"),
        labels=labels, prediction=pred, out_of_distribution=("others", prediction(30, (2, 2), 1)),
    )  # fmt: skip
    right = (np.asarray(pred.predicted) == labels).sum()
    assert f"{right} of 60 decisions are predicted correctly" in checked_page(path).text
    table = rows(tmp_path / "uncertainty.csv")
    assert [row["name"] for row in table[:3]] == ["n0: a", "n0: b", "n1: a"]
    assert [row["label"] for row in table] == [("no", "yes")[int(label)] for label in labels.ravel()]


@pytest.mark.parametrize("targets", [1, 2])
def test_the_page_of_numbers(tmp_path, targets):
    rng = np.random.default_rng(0)
    n = 60
    std = rng.uniform(0.5, 2, size=(n, targets)) * (1, 50)[:targets]
    mean = rng.normal(size=(n, targets)) * std
    y = mean + std * rng.normal(size=(n, targets))
    split = None if targets == 1 else 0.3 * std**2
    given = std**2 if split is None else 0.7 * std**2
    pred = RegressionPrediction(mean, given, split, mean, np.int32(0))
    intervals = ConformalIntervals(alpha=0.1, quantile=np.full(targets, 1.7, np.float32), num_rows=50)
    names = ["age", "b<m>i"][:targets]
    path = write_uncertainty_report(
        tmp_path, title="R", task="regression", names=[str(i) for i in range(n)], class_names=names,
        labels=y[:, 0] if targets == 1 else y, prediction=pred, conformal=intervals,
        pictures=pictures if targets == 1 else None,
        out_of_distribution=("wide", RegressionPrediction(*(v if v is None else 9 * v for v in (
            pred.mean, given, split, pred.deterministic)), np.int32(0))),
    )  # fmt: skip
    text = checked_page(path).text
    held = float(metrics.picp(mean, std**2, y, level=0.9))
    assert f"{held:.1%} lie in the intervals that should hold 90%" in text
    table = rows(tmp_path / "uncertainty.csv")
    start = "" if targets == 1 else "age_"
    low, high = metrics.gaussian_interval(mean, std**2, level=0.9)
    for column, values in {"label": y, "mean": mean, "std": std, "low_90": low, "high_90": high}.items():
        np.testing.assert_allclose([float(row[start + column]) for row in table], values[:, 0], rtol=1e-5, atol=1e-5)
    result = json.loads((tmp_path / "uncertainty.json").read_text())["result"]
    main = metrics.regression_metrics(mean, std**2, y, level=0.9)
    assert result["methods"]["MC dropout"]["nll"] == pytest.approx(float(main["nll"]), rel=1e-5)
    single = metrics.gaussian_nll(mean, np.broadcast_to(((y - mean) ** 2).mean(0), y.shape), y)
    assert result["methods"]["constant variance, in hindsight"]["nll"] == pytest.approx(float(single), rel=1e-5)
    ours, theirs = (np.sqrt((v**2 / y.std(0) ** 2).mean(1)) for v in (std, 3 * std))
    auroc = float(metrics.auroc(ours, theirs))
    assert result["out_of_distribution"]["scores"]["standard deviation"]["auroc"] == pytest.approx(auroc, abs=1e-6)
    if targets == 1:
        kept = np.argsort(std[:, 0])[:48]
        rmse = np.sqrt(((y - mean)[kept] ** 2).mean())
        assert f"to {rmse:.4g}; removing" in text
        ranks = [np.argsort(np.argsort(v[:, 0])) for v in (np.abs(y - mean), std)]
        assert result["spearman_of_error_and_std"] == pytest.approx(np.corrcoef(ranks)[0, 1])
        surprise = np.argsort(-(np.abs(y - mean) / std)[:, 0])[0]
        assert f"true {y[surprise, 0]:.4g} predicted {mean[surprise, 0]:.4g}" in text
    else:
        assert "70% comes from the passes" in text
        assert result["per_target"]["b<m>i"]["rmse"] == pytest.approx(np.sqrt(((y - mean)[:, 1] ** 2).mean()), rel=1e-5)


def test_the_scale_is_undone_for_the_baseline(tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.1, 0.4, (60, 1))
    mean, y = rng.normal(size=(60, 1)), rng.normal(size=60)
    scale = Scale("power", factor=3.0, power=0.5)
    chosen = Candidate("power, mc centre", 1.1, 0.1, scale, "mc")
    constant = Candidate(
        "constant variance", 1.2, None, Scale("constant", 0.0, offset=0.8), "deterministic", baseline=True
    )
    cal = calibrated("regression", (constant, chosen), chosen, (chosen,))
    pred = RegressionPrediction(mean, scale.parts(raw)[0], None, mean + 0.1, np.int32(20))
    path = write_uncertainty_report(
        tmp_path, title="T", task="regression", names=[str(i) for i in range(60)], class_names=(), labels=y,
        prediction=pred, calibration=cal,
    )  # fmt: skip
    checked_page(path)
    found = json.loads((tmp_path / "uncertainty.json").read_text())["result"]["methods"]
    for name, center, variance in (
        ("constant variance", mean + 0.1, np.full((60, 1), 0.8)),
        ("MC dropout, not scaled", mean, raw),
        ("MC dropout, calibrated", mean, 3 * np.sqrt(raw)),
    ):
        nll = (np.log(2 * np.pi * variance) + (y[:, None] - center) ** 2 / variance).mean() / 2
        assert found[name]["nll"] == pytest.approx(nll, rel=1e-5), name


def test_a_difference_that_chance_explains_is_no_difference():
    rng = np.random.default_rng(0)
    noise, examples = rng.normal(size=400), np.arange(400)
    assert paired_difference("b", noise - 1, np.zeros(400), examples).verdict == -1
    assert paired_difference("b", noise + 1, np.zeros(400), examples).verdict == 1
    assert paired_difference("b", noise, np.zeros(400), examples).verdict == 0
    tenfold = paired_difference("b", np.repeat(noise + 0.15, 10), np.zeros(4000), np.repeat(examples, 10))
    once = paired_difference("b", noise + 0.15, np.zeros(400), examples)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert paired_difference("b", -np.ones(3), np.zeros(3), np.arange(3)).verdict == 0


def test_softened_probabilities_are_those_of_another_temperature():
    """Also where a temperature is so low that float32 has no number for the smaller probabilities."""
    logits = np.random.default_rng(0).normal(size=(20, 4)) * 3
    for used in (2.0, 0.01):
        logs = np.asarray(jax.nn.log_softmax(logits.astype(np.float32) / used), np.float64)
        method = softened(logs, used / 0.7)
        np.testing.assert_allclose(method.probs, softmax(logits / 0.7), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(np.exp(method.log_probs), method.probs)


def test_refusals(tmp_path):
    pred = prediction()
    given = {
        "title": "", "task": "classification", "names": [str(i) for i in range(60)], "class_names": CLASSES,
        "labels": np.zeros(60, int), "prediction": pred,
    }  # fmt: skip
    dense = prediction(4, (5, 5, 3))
    numbers = RegressionPrediction(*(np.ones((60, 1)),) * 4, np.int32(2))
    sets = ConformalSets("aps", alpha=0.1, quantile=0.9, num_rows=50, num_classes=3, randomized=True)
    for change, words in (
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"names": given["names"][1:]}, "predictions of 60 examples, but 59 names"),
        ({"labels": np.zeros(59, int)}, "60 predictions, but labels of the shape"),
        ({"labels": np.full(60, 3)}, "the label of example 0 is 3, but there are 3 classes"),
        ({"class_names": ("a", "b")}, "2 names were given for 3 classes"),
        ({"prediction": dense, "names": list("abcd")}, "Of dense outputs, give the places as examples"),
        ({"prediction": numbers}, "needs a ClassificationPrediction; prediction is a RegressionPrediction"),
        ({"out_of_distribution": ("x", numbers)}, "out_of_distribution is a RegressionPrediction"),
        ({"conformal": sets}, "fit the conformal sets without a key"),
        ({"conformal": ConformalIntervals(0.1, np.ones(()), 9)}, "for classes use fit_lac"),
        (
            {"task": "regression", "prediction": numbers, "class_names": (), "labels": np.full(60, np.nan)},
            "labels of 60 of 60 examples are not finite",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            write_uncertainty_report(tmp_path, **given | change)
    assert list(tmp_path.iterdir()) == []
