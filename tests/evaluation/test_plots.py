import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from jaxvision.evaluation import plots
from jaxvision.evaluation.calibration import reliability
from jaxvision.evaluation.history import History
from jaxvision.evaluation.metrics import evaluate_classification, from_confusion_matrix


def drawn(figure):
    """The figure as saved, as grey pixels."""
    stream = io.BytesIO()
    plots.save(figure, stream)
    return np.asarray(Image.open(stream).convert("L"))


def texts(figure):
    """All that is written in a figure."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


def binary(n=200):
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=n) < 0.4).astype(int)
    p = 1 / (1 + np.exp(-rng.normal(2.0 * labels - 1, 1.0)))
    return labels, np.stack([1 - p, p], axis=1)


def test_settings_of_matplotlib_are_left_alone():
    before = dict(matplotlib.rcParams)
    drawn(plots.confusion_matrix(np.eye(3, dtype=int), ("a", "b", "c")))
    assert dict(matplotlib.rcParams) == before


def test_names_are_not_formulas():
    for names in (("$x^2$", "a$b$"), ("tab\there", "cut\udcff"), ("long " * 20, "狗")):
        figure = plots.confusion_matrix(np.array([[3, 1], [0, 4]]), names)
        drawn(figure)
        written = texts(figure)
        if names[0] == "$x^2$":
            assert written.count("$x^2$") == 2
            assert not any(t.get_parse_math() for t in figure.findobj(matplotlib.text.Text) if "$" in t.get_text())


def test_matrix_shows_shares_and_counts_while_there_is_room():
    written = texts(plots.confusion_matrix(np.array([[338, 162], [45, 955]]), ("Non-COVID", "COVID")))
    assert {"67.6%", "95.5%", "338", "162", "45", "955"} <= set(written)
    rng = np.random.default_rng(0)
    twenty = rng.integers(10, 99, size=(20, 20))
    assert not {str(n) for n in twenty.diagonal()} <= set(
        texts(plots.confusion_matrix(twenty, [f"c{i}" for i in range(20)]))
    )
    many = texts(plots.confusion_matrix(np.eye(120, dtype=int), [f"class {i}" for i in range(120)]))
    assert 2 * 30 <= sum(text.startswith("class") for text in many) <= 2 * 50


def test_curves():
    epochs = np.arange(1, 6)
    columns = {"train_loss": 1 / epochs, "val_loss": np.array([1, 0.5, 0.4, 0.6, np.nan]), "val_accuracy": epochs / 6}
    figure = plots.training_curves(History(epochs, columns))
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Accuracy"]
    assert {"lowest: 0.4, epoch 3", "highest: 83.3%, epoch 5"} <= set(texts(figure))
    figure = plots.training_curves(History(epochs[:1], {"train_loss": np.array([1.0])}))
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="neither train_loss nor val_loss"):
        plots.training_curves(History(epochs, {"lr": epochs.astype(float)}))


def test_roc_and_precision_recall():
    labels, p = binary()
    result = evaluate_classification(labels, p, ("no", "yes"))
    assert f"yes, AUROC {result.auroc:.3f}" in texts(plots.roc_curves(labels, p, ("no", "yes"), 0.5))
    written = texts(plots.precision_recall_curves(labels, p, ("no", "yes"), 0.5))
    assert f"yes, AP {result.average_precision:.3f}" in written
    assert f"by chance, {labels.mean():.3f}" in written
    assert plots.roc_curves(np.zeros(5, int), np.full((5, 2), 0.5), ("no", "yes")) is None
    drawn(plots.threshold_curves(labels, p[:, 1], 0.4, "yes"))


def test_of_many_classes_the_weakest_ten_are_drawn():
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 12
    p = rng.dirichlet(np.ones(12), size=240)
    good = labels < 2
    p[good] = 0.9 * np.eye(12)[labels[good]] + 0.1 * p[good]
    written = [text for text in texts(plots.roc_curves(labels, p, [f"c{i}" for i in range(12)])) if "AUROC" in text]
    assert [text.split(",")[0] for text in written] == [f"c{i}" for i in range(2, 12)]


def test_bars_are_sorted_and_skip_the_unknown():
    result = from_confusion_matrix(np.array([[1, 1, 0], [0, 4, 0], [0, 0, 0]]), ("half", "all", "absent"))
    figure = plots.recall_bars(result)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["half", "all"]
    results = {"first": result, "second": result}
    assert {"first", "second"} <= set(texts(plots.comparison_bars(results)))


def test_reliability_title_has_the_ece():
    labels, p = binary()
    bins = reliability(labels, p)
    assert f"Reliability: ECE {bins.ece:.3f}" in texts(plots.reliability_diagram(bins))


def test_picture_grid_shows_every_picture():
    pictures = [
        Image.new("L", (40, 20), 0),
        None,
        Image.new("RGB", (30, 30), (255, 0, 0)),
        *[Image.new("L", (9, 9))] * 5,
    ]
    captions = [(f"true: {i}", "predicted: 1", f"some/very/long/folder/name/{i}.png") for i in range(8)]
    figure = plots.picture_grid(pictures, captions)
    written = texts(figure)
    assert [f"true: {i}" for i in range(8)] == [text.split("\n")[0] for text in written if text[:4] == "true"]
    assert sum(text.endswith("name/3.png") for text in written) == 1
    assert 0.1 < (drawn(figure) < 40).mean() < 0.7
