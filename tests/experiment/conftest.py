import numpy as np
import pytest
from PIL import Image

TINY = (
    *("--model", "vit_tiny_patch16_224", "--img-size", "16", "--in-chans", "1"),
    *("--model-options", "embed_dim", "32", "depth", "1", "num_heads", "2", "patch_size", "4"),
    *(
        "--epochs",
        "2",
        "--batch-size",
        "32",
        "--opt",
        "adamw",
        "--lr",
        "0.003",
        "--warmup-epochs",
        "0",
        "--workers",
        "1",
    ),
    *("--crop-pct", "1", "--compile-cache", "none"),
)


def write_digits(root, classes=(0, 1, 2), counts=(60, 60, 60)):
    """A folder with one folder a class, of scikit-learn's digits in 16 x 16 pixels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit, count in zip(classes, counts, strict=True):
        folder = root / f"digit_{digit}"
        folder.mkdir(parents=True)
        for number, index in enumerate(np.flatnonzero(digits.target == digit)[:count]):
            pixels = (digits.images[index] * 15.9).astype(np.uint8).repeat(2, 0).repeat(2, 1)
            Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return root


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Plots take seconds and have tests of their own: only what several tests share is drawn, and sub-processes'."""
    from jaxvision.evaluation.album import Album

    monkeypatch.setattr(Album, "_png", lambda self, name, figure, description: b"")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits") / "photos")


@pytest.fixture(scope="session")
def run(digits, tmp_path_factory):
    """A finished run."""
    from jaxvision.cli import main

    folder = tmp_path_factory.mktemp("runs") / "run"
    longer = ("--epochs", "20", "--batch-size", "16", "--lr", "0.006", "--no-aug")
    assert main(["train", str(digits), *TINY, *longer, "--output", str(folder)]) == 0
    return folder
