import csv
import io
import json

import numpy as np
import pytest

from jaxvision.evaluation.album import thumbnail
from jaxvision.evaluation.comparison import comparison_table
from jaxvision.evaluation.history import History
from jaxvision.evaluation.html import tag
from jaxvision.evaluation.metrics import (
    evaluate_classification,
    evaluate_multilabel,
    evaluate_regression,
    from_confusion_matrix,
)
from jaxvision.evaluation.predictions import classification_csv
from jaxvision.evaluation.report import write_report
from jaxvision.evaluation.tables import Table
from jaxvision.evaluation.threshold import choose_threshold
from tests.evaluation.pages import Page, checked_page, rows

NASTY = "<script>alert('&')</script>"


def binary(n=120, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=n) < 0.6).astype(np.int32)
    return labels, (1 / (1 + np.exp(-rng.normal(2.0 * labels - 1, 1.0)))).astype(np.float32)


def pictures(index):
    if index % 5 == 2:
        raise OSError(f"cannot identify image file '{index}.png'")
    return np.full((30, 20 + index % 7, 3), index % 255, np.uint8)


@pytest.fixture(scope="module")
def binary_report(tmp_path_factory):
    labels, p = binary()
    classes = (NASTY, "yes & <no>")
    threshold = choose_threshold(*binary(seed=1), "recall>=0.9")
    result = evaluate_classification(labels, p, classes, threshold.value)
    epochs = np.arange(1, 5)
    history = History(epochs, {"train_loss": 1 / epochs, "val_loss": 1 / epochs, "seconds": 30.0 * epochs}, (3,))
    names = [f'folder/"{i}"<i>.png' for i in range(len(labels))]
    names[0] = "cut\udcff.png"
    path = write_report(
        tmp_path_factory.mktemp("report") / "deep" / "folder",
        title=f"A {NASTY} report",
        result=result,
        names=names,
        labels=labels,
        outputs=p,
        history=history,
        pictures=pictures,
        settings={"model": {"name": "<vit>", "lr": 1e-3, "size": [64, 64]}, "ema": None, "resume": False, "empty": ""},
        threshold=threshold,
        comparison={"none": result, "class <weights>": evaluate_classification(labels, p, classes)},
        notes=["One <note>."],
    )
    return path, result, threshold, labels, p, names


def test_the_binary_page(binary_report):
    path, result, threshold, *_ = binary_report
    page = checked_page(path)
    assert NASTY in page.text
    for words in (
        f"A {NASTY} report",
        f"{result.accuracy:.3f}",
        f"“yes & <no>” is predicted from a probability of {threshold.value:.4g} on",
        "model.name <vit>",
        "model.size 64, 64",
        "ema none resume no empty (empty)",
        "4 epochs, 5 min 0 s in all.",
        "missing from the curves: 3.",
        "One <note>.",
        "class <weights>",
        "cannot identify image file",
    ):
        assert words in page.text, words


def test_the_binary_files(binary_report):
    path, result, threshold, labels, p, names = binary_report
    expected = (
        "classification_report.txt comparison.csv comparison.png confusion_matrix.csv confusion_matrix.png curves.png "
        "metrics.json mistakes.png per_class.csv precision_recall.png predictions.csv reliability.png report.html "
        "roc.png threshold.png uncertain.png"
    )
    assert sorted(file.name for file in path.parent.iterdir()) == expected.split()
    document = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))
    assert document["result"]["accuracy"] == result.accuracy
    assert document["threshold"]["value"] == threshold.value
    assert set(document["comparison"]) == {"none", "class <weights>"}
    predictions = rows(path.parent / "predictions.csv")
    assert predictions[0]["name"] == r"cut\udcff.png"
    assert [row["name"] for row in predictions[1:]] == names[1:]
    assert [row["label"] for row in predictions] == [result.class_names[label] for label in labels]
    assert [row["predicted"] for row in predictions] == [result.class_names[int(q >= threshold.value)] for q in p]
    np.testing.assert_allclose([float(row["p_yes & <no>"]) for row in predictions], p, rtol=1e-5)
    matrix = rows(path.parent / "confusion_matrix.csv")
    assert [int(row["yes & <no>"]) for row in matrix] == result.confusion_matrix[:, 1].tolist()


def test_mistakes_are_the_most_confident_ones(binary_report):
    path, result, threshold, labels, p, names = binary_report
    page = Page(path.read_text(encoding="utf-8"))
    shown = [image["alt"] for image in page.all("img") if ": true " in image["alt"]]
    predicted = (p >= threshold.value).astype(int)
    confidence = np.where(predicted == 1, p, 1 - p)
    wrong = sorted(np.flatnonzero(predicted != labels), key=lambda i: -confidence[i])[:12]
    expected = [names[i] for i in wrong if i % 5 != 2]
    assert [alt.split(": true ")[0] for alt in shown[: len(expected)]] == expected
    best, truth = result.class_names[predicted[wrong[0]]], result.class_names[labels[wrong[0]]]
    assert f"predicted {best} {best} {confidence[wrong[0]]:.3f} {truth} {1 - confidence[wrong[0]]:.3f}" in page.text


def test_many_classes_without_pictures(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 119  # the last class is absent
    p = (
        0.5 * rng.dirichlet(np.ones(120), size=240)
        + 0.5 * np.eye(120)[np.where(rng.uniform(size=240) < 0.8, labels, 0)]
    )
    classes = [f"class {i}" for i in range(120)]
    result = evaluate_classification(labels, p, classes)
    path = write_report(
        tmp_path, title="Many", result=result, names=[f"{i}" for i in range(240)], labels=labels, outputs=p
    )
    page = checked_page(path)
    assert "The 40 classes with the lowest recall of 120; per_class.csv has all." in page.text
    assert "No example of “class 119”" in page.text
    assert "auroc is not given" in page.text
    assert len(rows(tmp_path / "per_class.csv")) == 120
    first = rows(tmp_path / "predictions.csv")[0]
    assert list(first) == ["name", "label", "predicted"] + [f"{a}top{i}" for i in range(1, 6) for a in ("", "p_")]
    assert first["top1"] == first["predicted"] == classes[p[0].argmax()]
    assert not (tmp_path / "mistakes.png").exists()


def test_one_perfect_example(tmp_path):
    result = evaluate_classification(np.array([1]), np.array([0.9]), ("a", "b"))
    path = write_report(
        tmp_path, title="One", result=result, names=["x"], labels=np.array([1]), outputs=np.array([0.9])
    )
    assert "Every example is predicted correctly." in checked_page(path).text
    assert not (tmp_path / "roc.png").exists()


def test_multilabel_and_regression(tmp_path):
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(60)]
    labels = (rng.uniform(size=(60, 3)) < 0.4).astype(np.float32)
    p = np.clip(0.4 * labels + rng.uniform(0, 0.6, size=labels.shape), 0, 1)
    result = evaluate_multilabel(labels, p, ("a", "<b>", "c"))
    path = write_report(
        tmp_path / "m", title="M", result=result, names=names, labels=labels, outputs=p, pictures=pictures
    )
    page = checked_page(path)
    assert f"mAP {result.mean_average_precision:.3f}" in page.text
    assert [int(row["label_<b>"]) for row in rows(tmp_path / "m/predictions.csv")] == labels[:, 1].tolist()

    y = rng.normal(size=60)
    said = y + rng.normal(size=60)
    result = evaluate_regression(y, said, target_names=["age"])
    path = write_report(tmp_path / "r", title="R", result=result, names=names, labels=y, outputs=said)
    page = checked_page(path)
    worst = int(np.abs(said - y).argmax())
    assert f"true {y[worst]:.4g} predicted {said[worst]:.4g} {worst}" in page.text
    assert [float(row["predicted_age"]) for row in rows(tmp_path / "r/predictions.csv")] == pytest.approx(said)


def test_refusals(tmp_path):
    labels, p = binary()
    names = [str(i) for i in range(len(labels))]
    result = evaluate_classification(labels, p, ("a", "b"))
    given = {"title": "", "result": result, "names": names, "labels": labels, "outputs": p}
    with pytest.raises(ValueError, match="of 120 examples, but there are 119 names"):
        write_report(tmp_path, **given | {"names": names[1:]})
    with pytest.raises(ValueError, match="was not measured at the threshold"):
        write_report(tmp_path, **given, threshold=choose_threshold(labels, p))
    assert list(tmp_path.iterdir()) == []


def test_comparison_table():
    first = from_confusion_matrix(np.array([[338, 162], [45, 955]]), ("Non-COVID", "COVID"))
    second = from_confusion_matrix(np.array([[440, 60], [150, 850]]), ("Non-COVID", "COVID"))
    table = comparison_table({"none": first, "class weights": second})
    assert table.text().splitlines() == [
        "choice         accuracy   balanced accuracy   macro F1   AUROC  recall Non-COVID   recall COVID",
        "-------------  ---------  ------------------  ---------  -----  -----------------  -------------",
        "none              0.862*              0.816      0.834       -             0.676          0.955*",
        "class weights     0.860               0.865*     0.849*      -             0.880*         0.850",
    ]
    parsed = list(csv.DictReader(io.StringIO(table.csv())))
    assert float(parsed[1]["recall COVID"]) == 0.85
    assert parsed[0]["AUROC"] == ""
    assert "<strong>0.865</strong>" in table.html()
    many = {"x": from_confusion_matrix(np.eye(9, dtype=int) + 1, [f"c{i}" for i in range(9)])}
    assert comparison_table(many).header[-1] == "lowest recall"
    with pytest.raises(ValueError, match="'b' was measured on other examples than 'a'"):
        comparison_table({"a": first, "b": from_confusion_matrix(np.array([[1, 0], [0, 1]]), first.class_names)})
    with pytest.raises(ValueError, match="nothing to compare"):
        comparison_table({})


def test_the_lowest_is_marked_and_large_numbers_keep_their_size():
    table = Table(
        ("name", "loss", "score"), [("a", 1.25, 1.0), ("b", 0.5, 2.0), ("c", 2.06e7, 0.0)], lowest=(1,), best=(2,)
    )
    assert [line.split() for line in table.text().splitlines()[2:]] == [
        ["a", "1.250", "1.000"],
        ["b", "0.500*", "2.000*"],
        ["c", "2.06e+07", "0.000"],
    ]


def test_tables_and_tags():
    table = Table(("name", "x"), [("<a>", 1.0), ("b", None), ("mean", "")], foot=1)
    assert table.text().splitlines()[2:] == ["<a>   1.000", "b         -", "mean"]
    page = Page(table.html("<caption>"))
    assert page.text.startswith("<caption> name x <a> 1.000 b -")
    assert (
        tag("p", "a\x00\udc80<", class_='"x"') == '<p class="&quot;x&quot;">a\N{REPLACEMENT CHARACTER}\\udc80&lt;</p>'
    )


def test_thumbnails():
    assert thumbnail(np.zeros((8, 6, 1), np.uint8)).size == (144, 192)
    assert thumbnail(np.zeros((100, 400, 3), np.uint8)).size == (192, 48)
    assert thumbnail(np.zeros((150, 100, 5), np.uint8)).mode == "RGB"
    assert thumbnail(np.zeros((150, 100, 2), np.uint8)).mode == "L"
    with pytest.raises(ValueError, match=r"uint8 .* got float32 \(4, 4, 3\)"):
        thumbnail(np.zeros((4, 4, 3), np.float32))


def test_predictions_of_many_classes_name_the_best_five():
    p = np.full((1, 101), 0.005)
    p[0, 7] = 0.5
    text = classification_csv(["x"], np.array([3]), p, np.array([7]), [f"c{i}" for i in range(101)])
    assert text.splitlines()[1] == "x,c3,c7,c7,0.5,c0,0.005,c1,0.005,c2,0.005,c3,0.005"
