import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from jaxvision.cli import main
from jaxvision.data.transforms import Preprocess

PHOTOGRAPHS = Path(skimage.data.__file__).parent
LABELS = ("ant", "bee", "cat")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two good pictures of one name, and a truncated one; their folder is also the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    for name, file in (("chelsea", "cat.png"), ("coffee", "more/cat.png")):
        Image.open(PHOTOGRAPHS / f"{name}.png").save(tmp_path / file)
    content = (tmp_path / "cat.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[: len(content) // 3])
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """Three classes and networks that compile in a moment, in place of the one that is asked for."""
    from jaxvision.predict import Classifier
    from jaxvision.registry import create_model

    options = {
        "resnet18": {"layers": (1, 1), "channels": (8, 16)},
        "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2},
    }

    def load(name, *args, **kwargs):
        model = create_model(name, num_classes=3, **options[name])
        return Classifier(model, Preprocess((32, 32)), LABELS)

    monkeypatch.setattr("jaxvision.cli.explain.load_classifier", load)
    return lambda *words: main(["explain", *words[1:], "--model", words[0]])


def size_of(file):
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 10
        return picture.size


def test_real_weights_and_a_corrupt_picture(pictures, capsys):
    assert main(["explain", ".", "--target", "Egyptian cat", "--output", "out"]) == 1
    output = capsys.readouterr()
    assert "'./broken.png' is truncated or corrupt" in output.err
    lines = output.out.splitlines()
    assert lines[0].startswith("./cat.png: tiger cat 0.393, Egyptian cat 0.356, tabby 0.170; Grad-CAM of 'Egyptian")
    assert lines[1].startswith("./more/cat.png: espresso 0.951")
    assert sorted(file.name for file in (pictures / "out").iterdir()) == ["cat-explain-2.png", "cat-explain.png"]
    assert size_of("out/cat-explain.png") == size_of("out/cat-explain-2.png") == (1024, 592)


def test_one_picture_into_one_file(pictures, small, capsys):
    assert small("resnet18", "cat.png", "--output", "new/here.png", "--target", "1", "--layer", "layer1") == 0
    assert "Grad-CAM of 'bee' in new/here.png" in capsys.readouterr().out
    size_of("new/here.png")
    assert small("vit_tiny_patch16_224", "cat.png", "--method", "rollout", "--discard-ratio", "0.5") == 0
    assert "attention rollout in cat-explain.png" in capsys.readouterr().out
    size_of("cat-explain.png")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["resnet18"], 2, "name at least one picture"),
        (["resnet18", "gone.jpg"], 1, "no such file or folder: 'gone.jpg'"),
        (["resnet18", "cat.png", "--topk", "0"], 2, "--topk must be at least 1"),
        (["resnet18", "cat.png", "--target", "cow"], 2, "'cow' is none of the 3 classes"),
        (["resnet18", "cat.png", "--target", "CATS"], 2, "did you mean 'cat'"),
        (["resnet18", "cat.png", "--target", "3"], 2, "--target 3: the network has 3 classes, 0 to 2"),
        (["resnet18", "cat.png", "--layer", "layer9"], 2, "no module matches 'layer9'; did you mean 'layer2'"),
        (["resnet18", "cat.png", "--method", "rollout"], 2, "ResNet has no attention to roll out"),
        (["resnet18", "cat.png", "--method", "rollout", "--target", "1"], 2, "--target goes with --method grad-cam"),
        (["resnet18", "cat.png", "--head-fusion", "max"], 2, "--head-fusion goes with --method rollout"),
        (["resnet18", "cat.png", "--discard-ratio", "1"], 2, "--discard-ratio is a share from 0 to below 1, got 1"),
        (["resnet18", "cat.png", "--output", "cat.png/x.png"], 1, "cannot write 'cat.png/x.png'"),
    ],
)
def test_mistakes_are_told_in_one_line(pictures, small, capsys, words, code, message):
    assert small(*words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("jaxvision: ")
    assert "Traceback" not in error


def test_a_missing_extra_is_told_before_anything_is_computed(pictures, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "jaxvision.evaluation.plots.style", raising=False)
    monkeypatch.delattr("jaxvision.cli.explain.load_classifier")
    assert main(["explain", "cat.png"]) == 1
    assert capsys.readouterr().err.endswith("explain needs `pip install 'jaxvision-zoo[plots]'`\n")
