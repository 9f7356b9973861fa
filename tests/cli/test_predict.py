import csv
import io
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from jaxvision import predict as library
from jaxvision.cli import main

PHOTOGRAPHS = Path(skimage.data.__file__).parent


@pytest.fixture(scope="module")
def classifier():
    """The default model, loaded and compiled once for all tests that run the command."""
    from jaxvision.cli.predict import load_classifier

    return load_classifier("tf_efficientnet_lite0.in1k")


@pytest.fixture
def quick(classifier, monkeypatch):
    monkeypatch.setattr("jaxvision.cli.predict.load_classifier", lambda *args, **kwargs: classifier)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with two good pictures and a truncated one, which is also the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("chelsea", "coffee"):
        Image.open(PHOTOGRAPHS / f"{name}.png").save(tmp_path / f"{name}.png")
    content = (tmp_path / "coffee.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[: len(content) // 3])
    return tmp_path


def test_names_real_pictures_and_goes_on_after_a_corrupt_one(pictures, capsys):
    assert main(["predict", ".", "gone.jpg", "--json", "--topk", "3", "--batch-size", "2"]) == 1
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert result["model"] == "tf_efficientnet_lite0.in1k"
    top = {
        p["file"]: [(t["class"], t["label"], round(t["probability"], 3)) for t in p["top"]]
        for p in result["predictions"]
    }
    assert list(top) == ["./chelsea.png", "./coffee.png"]
    assert top["./chelsea.png"] == [(282, "tiger cat", 0.393), (285, "Egyptian cat", 0.356), (281, "tabby", 0.170)]
    assert top["./coffee.png"][0] == (967, "espresso", 0.951)
    assert [error["file"] for error in result["errors"]] == ["gone.jpg", "./broken.png"]
    assert "truncated or corrupt" in result["errors"][1]["message"]
    for error in result["errors"]:
        assert f"jaxvision: {error['message']}\n" in output.err


def test_csv_has_a_line_for_each_rank(pictures, quick, capsys):
    assert main(["predict", "chelsea.png", "coffee.png", "--csv", "--topk", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["file", "rank", "class", "label", "probability"]
    assert [(row["file"], row["rank"], row["class"]) for row in rows[:3]] == [
        ("chelsea.png", "1", "282"),
        ("chelsea.png", "2", "285"),
        ("coffee.png", "1", "967"),
    ]
    assert float(rows[2]["probability"]) == pytest.approx(0.951, abs=5e-4)


def said_of(rows):
    """What a sampler says: of picture 0 that it is a cat, though passes differ; of all others that they are coffee."""
    from jaxvision.uncertainty import ClassificationPrediction

    probs = np.zeros((len(rows), 1000), np.float32)
    for row, number in enumerate(rows):
        probs[row, [0, 282] if number == 0 else [0, 967]] = (0.6, 0.4) if number == 0 else (0.1, 0.9)
    none, logs = np.zeros(len(rows), np.float32), np.log(probs + 1e-30)
    flips = np.where(np.array(rows) == 0, 0.3, 0.02)
    return ClassificationPrediction(probs, logs, probs * 0, none, none, flips, logs, np.int32(10))


def test_uncertainty_says_of_every_picture_how_sure_it_is(pictures, quick, classifier, monkeypatch, capsys):
    numbers = []

    def sampler(images, rows):
        numbers.append(rows.tolist())
        return said_of(rows.tolist())

    monkeypatch.setattr(classifier, "sampler", sampler)
    words = ["predict", "chelsea.png", "broken.png", "coffee.png", "--uncertainty", "--topk", "2", "--batch-size", "2"]
    assert main([*words, "--csv"]) == 1
    assert numbers == [[0, 0], [2, 2]], "masks depend on the picture's place in the list; batches are filled up"
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0])[5:] == ["confidence", "entropy", "mutual_information", "flip_rate", "verdict"]
    assert [row["verdict"] for row in rows] == ["unsure", "", "sure", ""]
    assert [row["confidence"][:4] for row in rows] == ["0.40", "", "0.89", ""]
    assert float(rows[0]["entropy"]) == pytest.approx(-0.4 * np.log(0.4) - 0.6 * np.log(0.6), abs=1e-5)
    assert main([*words, "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert (first["verdict"], second["verdict"]) == ("unsure", "sure")
    assert second["flip_rate"] == pytest.approx(0.02)
    assert main(words) == 1
    text = capsys.readouterr().out
    assert "unsure" in text
    assert "mutual_information" in text


@pytest.mark.parametrize(("confidence", "flips", "sure"), [(0.5, 0.1, True), (0.49, 0.0, False), (0.9, 0.11, False)])
def test_sure_is_more_probable_than_all_others_and_named_by_nine_passes_in_ten(confidence, flips, sure):
    assert library.Doubt(confidence, 0.0, 0.0, flips).sure is sure


def test_the_table_is_not_cut_when_it_goes_to_a_file(pictures, quick, capsys):
    name = "a" * 120 + ".png"
    (pictures / "chelsea.png").rename(pictures / name)
    assert main(["predict", name, "--output", "results/table.txt"]) == 0
    assert capsys.readouterr().out == ""
    text = (pictures / "results/table.txt").read_text()
    assert name in text
    assert "tiger cat" in text
    assert "0.393" in text


def test_a_name_that_is_not_unicode_survives(pictures, quick, capfdbinary):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (pictures / "chelsea.png").rename(name)
    assert main(["predict", name, "--json", "--output", "out.json"]) == 0
    assert json.loads(Path("out.json").read_text())["predictions"][0]["file"] == name


def test_nothing_to_look_at(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "*.jpg", "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["predictions"] == []
    assert "no picture matches '*.jpg'" in output.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "tf_efficientnet_lit0"], 2, "unknown model 'tf_efficientnet_lit0'; did you mean"),
        (["--model", "tf_efficientnet_lite0.in2k"], 2, "no weights tagged 'in2k'"),
        (["--model", "vit_base_patch16_224.dino"], 2, "has no classifier"),
        (["--model", "seresnet18"], 2, "no published weights"),
        (["--topk", "0"], 2, "--topk must be at least 1"),
        (["--batch-size", "-1"], 2, "--batch-size must be at least 1"),
        (["--num-classes", "10"], 2, "goes with --weights"),
        (["--weights", "gone.safetensors"], 1, "there is no file 'gone.safetensors'"),
        (["--labels", "gone.txt"], 2, "cannot read the labels 'gone.txt'"),
        (["--labels", "two.txt"], 2, "'two.txt' has 2 lines, expected one for each of the 1000 classes"),
        (["--model", "vit_tiny_patch16_224", "--img-size", "0"], 2, "img_size must be at least one pixel"),
        (["--uncertainty", "--samples", "1"], 2, "--samples must be at least 2, got 1"),
        (["--uncertainty", "--rate", "0"], 2, "--rate is a probability between 0 and 1, got 0"),
        (["--calibration", "two.txt"], 2, "--calibration goes with --uncertainty"),
        (["--uncertainty", "--calibration", "two.txt"], 2, "two.txt: not JSON"),
        (["--model", "."], 2, "is not the folder of a run"),
        (["--output", "chelsea.png/x"], 1, "cannot write 'chelsea.png/x'"),
    ],
)
def test_mistakes_are_told_in_one_line(pictures, request, capsys, options, code, message):
    (pictures / "two.txt").write_text("cat\ndog\n")
    if "--output" in options:
        request.getfixturevalue("quick")
    assert main(["predict", "chelsea.png", *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("jaxvision: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "words", [["predict", "--jsn"], ["predict", "a", "--json", "--csv"], ["predict", "a", "--topk", "x"], ["predct"]]
)
def test_command_lines_that_cannot_be_read(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2


def test_no_words_at_all(capsys):
    assert main(["predict"]) == 2
    assert "name at least one picture" in capsys.readouterr().err


def test_own_weights_with_own_labels(pictures, capsys):
    """A network of three classes, whose answer its weights decide: only the classifier's bias speaks."""
    from jaxvision.paths import named_variables
    from jaxvision.registry import create_model
    from jaxvision.weights.layout import timm_name

    model = create_model("tf_efficientnet_lite0", pretrained=True, num_classes=3)
    model.classifier.kernel.set_value(jnp.zeros((1280, 3)))
    model.classifier.bias.set_value(jnp.log(jnp.array([1, 2, 5]) / 8))
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}
    arrays = {
        timm_name(name): value.transpose(axes[value.ndim]) if name.endswith("kernel") else value
        for name, value in ((name, np.asarray(v.get_value())) for name, v in named_variables(model).items())
    }
    np.savez(pictures / "own.npz", **arrays)
    (pictures / "labels.txt").write_text("ant\nbee\ncat\n")
    words = ["predict", "chelsea.png", "--weights", "own.npz", "--labels", "labels.txt", "--num-classes", "3", "--json"]
    assert main([*words, "--img-size", "64", "96"]) == 0
    top = json.loads(capsys.readouterr().out)["predictions"][0]["top"]
    assert [(t["label"], round(t["probability"], 4)) for t in top] == [("cat", 0.625), ("bee", 0.25), ("ant", 0.125)]
    assert main([*words[:4], "--json"]) == 1
    told = capsys.readouterr().err
    assert "classifier.weight" in told
    assert "--num-classes 3 keeps the file's classifier" in told


def test_the_size_that_weights_are_better_with(monkeypatch):
    from jaxvision.cli.predict import load_classifier
    from jaxvision.registry import create_model

    network = create_model("resnet18", layers=(1,), channels=(8,))
    monkeypatch.setattr("jaxvision.registry.create_model", lambda *args, **options: network)
    preprocess = load_classifier("resnet50.a1_in1k", use_test_size=True).preprocess
    assert (preprocess.size, preprocess.crop_pct) == ((288, 288), 1.0)


def test_an_output_that_is_not_finite_is_not_handed_out(pictures, quick, classifier, monkeypatch, capsys):
    monkeypatch.setattr(classifier, "_probabilities", lambda variables, images: np.full((len(images), 1000), np.nan))
    assert main(["predict", "chelsea.png", "--json"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "the output is not finite" in output.err


def test_nothing_compiles_twice(classifier, pictures):
    before = classifier._probabilities._cache_size()
    predictions = list(classifier.classify([Path("chelsea.png")] * 5, topk=1, batch_size=3))
    assert classifier._probabilities._cache_size() == before + 1
    assert len({round(p.scores[0].probability, 5) for p in predictions}) == 1


def test_classify_takes_what_pillow_has_open(classifier):
    with Image.open(PHOTOGRAPHS / "chelsea.png") as picture:
        (prediction,) = classifier.classify([picture], topk=10_000)
    assert prediction.source.endswith("chelsea.png")
    assert len(prediction.scores) == 1000
    assert sum(score.probability for score in prediction.scores) == pytest.approx(1, abs=1e-5)


def test_labels_must_fit(classifier, pictures):
    wrong = library.Classifier.__new__(library.Classifier)
    wrong.__dict__.update(classifier.__dict__, labels=["cat"])
    with pytest.raises(ValueError, match="1 labels for 1000 classes"):
        list(wrong.classify(["chelsea.png"]))
