"""How sure is a run? From its folder to a calibrated report, for every kind of task."""

import csv
import io
import json
from contextlib import redirect_stdout
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import uncertainty as uq
from jaxvision.cli import main
from jaxvision.data.dataset import ArrayDataset, DatasetError, Subset
from jaxvision.experiment.holdout import hold_out
from jaxvision.experiment.injection import InjectionOptions
from jaxvision.experiment.network import build_network
from jaxvision.experiment.rows import Pictures
from jaxvision.experiment.sites import in_classifier, inject
from jaxvision.experiment.trained import open_run
from jaxvision.experiment.uncertainty import Subject, estimate
from jaxvision.paths import PatternError
from jaxvision.training.config import ConfigError, NetworkOptions, TrainConfig, changed, flat, replaced
from jaxvision.training.losses import make_task
from jaxvision.uncertainty.overlap import OverlapError

QUICK = InjectionOptions(sites=("head",), samples=8, rates=(0.1, 0.3))


@pytest.fixture(scope="module")
def analysed(run, tmp_path_factory):
    """What the command wrote and said about a run without a test split."""
    folder = tmp_path_factory.mktemp("uncertainty")
    noise = np.random.default_rng(0).integers(0, 256, (11, 16, 16), np.uint8)
    np.savez(folder / "noise.npz", images=noise, labels=np.zeros(11, np.int32))
    words = ["uncertainty", str(run), "--samples", "8", "--rates", "0.1", "0.3", "--batch-size", "8", "--alpha", "0.2"]
    said = io.StringIO()
    with redirect_stdout(said):
        assert main([*words, "--ood", str(folder / "noise.npz"), "--output", str(folder / "report")]) == 0
    return folder / "report", said.getvalue()


@pytest.fixture(scope="module")
def opened(run):
    return open_run(run)


def network_for(task, **changes):
    options = {"embed_dim": "16", "depth": "1", "num_heads": "2", "patch_size": "8"}
    options = NetworkOptions(model="vit_tiny_patch16_224", img_size=(16,), in_chans=1, crop_pct=1.0, **changes,
                             model_options=options)  # fmt: skip
    return build_network(options, task, 0)


def some_pictures(labels, class_names=(), seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 16, 16), np.uint8)
    return ArrayDataset(images, labels, class_names, [f"{seed}/{i}" for i in range(len(labels))])


def test_the_command_says_and_writes_what_the_uncertainty_is_worth(analysed):
    folder, said = analysed
    assert {"calibration.json", "uncertainty.json", "uncertainty.csv", "report.html"} <= {
        p.name for p in folder.iterdir()
    }
    assert len(list(folder.glob("*.png"))) >= 5
    result = json.loads((folder / "uncertainty.json").read_text())["result"]
    assert set(result["methods"]) == {"deterministic softmax", "temperature-scaled softmax", "MC dropout, calibrated"}
    for name, numbers in result["methods"].items():
        assert f"{name}" in said
        assert f"{numbers['nll']:.4f}" in said
    assert "MC dropout is " in said or "Whether MC dropout is better" in said
    assert "the split 'val' was divided" in said.lower()
    assert "one half of it tunes" in (folder / "report.html").read_text()
    assert result["out_of_distribution"]["rows"] == 11
    assert f"AUROC: confidence {result['out_of_distribution']['scores']['confidence']['auroc']:.3f}" in said
    assert f"hold the truth in {result['conformal']['coverage']:.1%}" in said
    assert f"report: {folder / 'report.html'}" in said
    with (folder / "uncertainty.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 18, "a half of the 36 pictures that validate"


def test_the_calibration_is_for_whole_pictures_and_gives_the_reports_numbers(analysed, opened, digits):
    """It was tuned on features, in batches of 8; masks depend on the picture's number alone."""
    folder, _ = analysed
    network, names = opened
    cal = uq.load_calibration(folder / "calibration.json", network.model)
    assert cal.split.endswith("Half of what tunes was set aside for conformal prediction")
    with (folder / "uncertainty.csv").open() as file:
        rows = list(csv.DictReader(file))
    images = jnp.asarray(network.preprocess.batch([digits / row["name"] for row in rows]))
    said = cal.predict(images, jax.random.key(0))
    for column, values in {"confidence": said.confidence, "mutual_information": said.mutual_information}.items():
        np.testing.assert_allclose([float(row[column]) for row in rows], values, atol=2e-5, err_msg=column)
    assert [names[i] for i in said.predicted] == [row["predicted"] for row in rows]
    labels = [names.index(row["label"]) for row in rows]
    assert cal.evaluate(images, labels, jax.random.key(0))["accuracy"] == np.mean(said.predicted == np.array(labels))
    every = sorted(digits.glob("*/*.png"))
    with pytest.raises(OverlapError, match="9 of these 180 rows"):
        cal.evaluate(jnp.asarray(network.preprocess.batch(every)), np.zeros(180, int), jax.random.key(0))


def test_a_run_and_its_calibration_say_of_single_pictures_how_sure_they_are(analysed, opened, run, digits, capsys):
    folder, _ = analysed
    words = ["predict", str(digits / "digit_1" / "000.png"), "--model", str(run), "--json", "--samples", "8"]
    assert main([*words, "--uncertainty", "--calibration", str(folder / "calibration.json")]) == 0
    doubted = json.loads(capsys.readouterr().out)["predictions"][0]
    assert doubted["top"][0]["label"] == "digit_1"
    network, _ = opened
    images = jnp.asarray(network.preprocess.batch([digits / "digit_1" / "000.png"]))
    said = uq.load_calibration(folder / "calibration.json", network.model).predict(images, jax.random.key(0), 8)
    assert doubted["confidence"] == pytest.approx(float(said.probs[0, 1]), abs=1e-5)
    assert doubted["entropy"] == pytest.approx(float(said.entropy[0]), abs=1e-4)
    assert main(["predict", str(digits / "digit_1"), "--model", str(run), "--num-classes", "3"]) == 2


def test_mistakes_are_named_with_their_remedy(run, digits, capsys):
    cases = [
        (["--sites", "heed"], "did you mean 'head'"),
        (["--split", "val"], "numbers measured on the same pictures would flatter"),
        (["--split", "tset"], "tset"),
        (["--rate", "1.5"], "dropout rates lie between 0 and 1, got 1.5"),
        (["--rate", "0.1", "--rates", "0.1", "0.2"], "give one of them"),
        (["--samples", "1"], "--samples must be at least 2"),
        (["--alpha", "2"], "--alpha is a probability"),
        (["--scale", "affine"], "unknown scale 'affine' for classification"),
        (["--mask", "head"], "mask='head' is for attention modules"),
        (["--ood", "nowhere"], "no such folder or file: 'nowhere'"),
        (["--checkpoint", "7"], "there are best, last"),
    ]
    for words, fragment in cases:
        assert main(["uncertainty", str(run), *words, "--output", "never"]) == 2, words
        assert fragment in capsys.readouterr().err, words
    for source, fragment in {
        "": "name the folder of a run",
        str(digits): "is not the folder of a run",
        "resnet_50": "neither the folder of a run nor a model",
        "tf_efficientnet_lite0.in1k": "has no data of its own",
    }.items():
        assert main(["uncertainty", source]) == 2
        assert fragment in capsys.readouterr().err
    for model in ("vit_base_patch16_224.dino", "tf_efficientnet_lite0.in1k"):
        assert main(["uncertainty", model, "--data", str(digits)]) == 2
        assert "classes, but the data have 3" in capsys.readouterr().err


def test_tuning_and_test_pictures_are_never_the_same():
    data = some_pictures(np.arange(40) % 2, ("a", "b"))
    parts = {"train": Subset(data, range(20)), "val": Subset(data, range(20, 32)), "test": Subset(data, range(32, 40))}

    def find(name):
        raise DatasetError(f"no split {name}")

    both = hold_out(parts, find)
    assert both.tuning.names == parts["val"].names
    assert both.test.names == parts["test"].names
    assert both.conformal is None
    assert "'val', measured on 'test'" in both.sentence
    divided = hold_out({name: parts[name] for name in ("train", "val")}, find, conformal=True)
    pieces = [set(part.names) for part in (divided.tuning, divided.test, divided.conformal)]
    assert [len(piece) for piece in pieces] == [3, 6, 3]
    assert set.union(*pieces) == set(parts["val"].names)
    assert len(hold_out({"all": data}, find).test) == 20
    assert "too sure" in hold_out(parts, find, tuning="training").sentence
    with pytest.raises(ConfigError, match=r"no validation data.*'train' \(20 pictures\), 'test' \(8 pictures\)"):
        hold_out({name: parts[name] for name in ("train", "test")}, find)
    with pytest.raises(ConfigError, match="'test' is the one to tune on"):
        hold_out(parts, find, tuning="test", test="testing")
    with pytest.raises(DatasetError, match="no split fold3"):
        hold_out(parts, find, tuning="fold3")


def test_pictures_that_cannot_be_read_or_are_among_those_that_tune_are_left_out():
    task = make_task("multiclass", 2)
    data = some_pictures(np.arange(10) % 2, ("a", "b"))

    class Damaged(ArrayDataset):
        def read(self, index):
            return super().read(index) if index != 4 else b"no picture"

    damaged = Damaged(data.images, data.labels, data.class_names, data.names)
    told = []
    network = network_for(task)
    pictures = Pictures(damaged, network, 4, 1, "test", lambda *step: told.append(step))
    split = pictures.read(None)
    assert told == [("test", 1, 3), ("test", 2, 3), ("test", 3, 3)]
    assert list(split.bad_files) == ["0/4"]
    assert list(split.dataset.names) == [f"0/{i}" for i in range(10) if i != 4]
    whole = np.concatenate(list(split.rows))
    assert whole.shape == (9, 16, 16, 1)
    np.testing.assert_array_equal(whole[0], network.preprocess.normalize(data.images[0]))
    other = replace(pictures, dataset=Subset(data, [2, 7])).read(None)
    left, twins = split.without(other)
    assert twins == 2
    assert list(left.dataset.names) == [f"0/{i}" for i in (0, 1, 3, 5, 6, 8, 9)]
    np.testing.assert_array_equal(np.concatenate(list(left.rows)), whole[[0, 1, 3, 4, 5, 7, 8]])
    with pytest.raises(ValueError, match="every picture to measure on is among those to tune on"):
        other.without(split)


@pytest.mark.parametrize(
    ("name", "labels", "classes", "methods"),
    [
        ("multilabel", np.stack([np.arange(24) % 2, np.arange(24) % 3 == 0], 1), ("a", "b"), "deterministic softmax"),
        ("regression", np.linspace(-1, 1, 24), (), "constant variance"),
        ("heteroscedastic", np.linspace(-1, 1, 48).reshape(24, 2), (), "constant variance"),
    ],
)
def test_every_task_is_tuned_measured_and_reported(name, labels, classes, methods, tmp_path):
    """Tuned on pictures of chance, so that the numbers mean nothing, but their labels and shapes are the task's."""
    task = make_task(name, max(len(classes), labels[0].size))
    data = some_pictures(labels, classes)
    parts = hold_out({"val": data, "test": some_pictures(labels[::-1], classes, 1)}, {}.__getitem__)
    subject = Subject(network=network_for(task), task=task, batch_size=16, workers=1)
    options = replace(QUICK, samples=4, center="mc" if not classes else None)
    done = estimate(subject, parts, options, output=tmp_path, title=name, settings={}, say=lambda line: None)
    result = done.findings["result"]
    assert methods in result["methods"]
    assert np.isfinite(result["methods"][result["main"]]["nll"])
    assert done.calibration.test["nll"] == pytest.approx(result["methods"][result["main"]]["nll"], rel=1e-3)
    with (tmp_path / "uncertainty.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 24 * (2 if name == "multilabel" else 1)
    assert "Tuned on the split" in done.report.read_text()


def test_sites_in_the_classifier_are_sampled_from_features():
    task = make_task("binary", 2)
    network = network_for(task, head="mlp", head_hidden=(8, 8), head_drop=0.5)
    head = inject(network, task, QUICK)
    assert [site.path for site in head.plan.sites] == ["head.hidden.0.drop", "head.hidden.1.drop"]
    assert in_classifier(head, network)
    assert not in_classifier(inject(network, task, replace(QUICK, sites=("head", "blocks.*.mlp"))), network)
    with pytest.raises(PatternError, match=r"blocks\.\*\.mlp"):
        inject(network, task, replace(QUICK, sites=("block.*.mlp",)))


def test_asking_for_uncertainty_does_not_change_a_run():
    asked = replaced(TrainConfig(), {"uncertainty": ["head", "blocks.*"]})
    assert asked.job.uncertainty == ("head", "blocks.*")
    assert not changed(flat(TrainConfig()), flat(asked)), "so that a finished run can be asked afterwards"
