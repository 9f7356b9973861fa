import json

import pytest
from PIL import Image

from jaxvision.cli import demo, main
from jaxvision.evaluation.album import Album

pytestmark = pytest.mark.usefixtures("optimised")


def test_the_demo_names_photographs_and_draws_them(tmp_path, capsys, monkeypatch):
    """And says which it would rather not name; by passes that are cheaper than the demo's."""
    monkeypatch.setattr(demo, "SITES", "last-stage")
    assert main(["demo", "--epochs", "0", "--output", str(tmp_path / "demo")]) == 0
    text = capsys.readouterr().out
    for fact in ("chelsea", "tiger cat", "0.393", "espresso", "0.951", "daisy", "0.323", "palace", "0.298"):
        assert fact in text
    assert str(tmp_path / "demo/predictions.png") in text
    verdicts = {line.split()[1]: line.split()[-2] for line in text.splitlines() if line.startswith("│ ")}
    assert len(verdicts) > 10
    assert verdicts["coffee"] == verdicts["camera"] == "sure"
    unsure = [name for name, verdict in verdicts.items() if verdict == "unsure"]
    assert {"chelsea", "astronaut", "gravel", "noise"} <= set(unsure)
    (line,) = (line for line in text.splitlines() if line.startswith("It would rather not name"))
    assert all(name.rstrip("…") in line for name in unsure)
    with Image.open(tmp_path / "demo/predictions.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 1000


def test_a_missing_package_is_named_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setitem(demo.PHOTOGRAPHS, "no_such_package.images", ("a.jpg",))
    assert main(["demo"]) == 1
    assert (
        "No module named 'no_such_package': the demo needs `pip install 'jaxvision-zoo[demo]'`"
        in capsys.readouterr().err
    )


def test_the_demo_goes_on_to_learn_digits_and_reports(tmp_path, capsys, monkeypatch):
    """The whole story in small: fewer and smaller pictures, fewer epochs, nothing drawn."""
    monkeypatch.setattr(Album, "_png", lambda self, name, figure, description: b"")
    monkeypatch.setattr(demo.Command, "_photographs", lambda self: 0)
    monkeypatch.setattr(demo, "DIGITS", ("digits", *demo.DIGITS[1:], "--img-size", "32", "--compile-cache", "none"))
    left = tmp_path / "digits" / "args.yaml"  # by an earlier demo
    left.parent.mkdir()
    left.write_text("model: resnet50\n")
    assert main(["demo", "--output", str(tmp_path), "--epochs", "5"]) == 0
    text = capsys.readouterr().out
    report = tmp_path / "digits" / "report.html"
    assert f"report: {report}" in text
    assert report.exists()
    accuracy = json.loads((tmp_path / "digits" / "metrics.json").read_text())["result"]["accuracy"]
    assert accuracy > 0.5, "features of a network that never saw a digit tell ten of them apart"
    sure = tmp_path / "digits" / "uncertainty"
    assert f"report: {sure / 'report.html'}" in text
    result = json.loads((sure / "uncertainty.json").read_text())["result"]
    assert result["rows"] == 359
    assert result["out_of_distribution"]["rows"] == 500
    nll = {name: numbers["nll"] for name, numbers in result["methods"].items()}
    assert nll[result["main"]] == pytest.approx(nll["temperature-scaled softmax"], abs=0.05)
    assert "MC dropout is" in text
