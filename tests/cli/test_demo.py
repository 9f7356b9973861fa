from PIL import Image

from jaxvision.cli import demo, main


def test_the_demo_names_photographs_and_draws_them(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 0
    text = capsys.readouterr().out
    for fact in ("chelsea.png", "tiger cat", "0.393", "espresso", "0.951", "daisy", "0.323", "palace", "0.298"):
        assert fact in text
    assert str(tmp_path / "demo/predictions.png") in text
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
