import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from jaxvision.cli import COMMANDS, main
from jaxvision.version import __version__

ROOT = Path(__file__).parents[2]


def run(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"jaxvision {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_the_commands(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "--output" in text
    assert f"usage: jaxvision {command}" in text


def test_listing_models(capsys):
    assert main(["models", "resnet1?*", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name,family,parameters,bn_statistics,gmacs,classes,input_size,top1,top5,weights,licence"
    start = "resnet18,resnet,11689512,9600,1.814,1000,3x224x224,71.504,90.086,a1_in1k "
    assert any(line.startswith(start) for line in lines)
    assert main(["models", "resnet18.*", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (row,) = (row for row in rows if row["name"] == "resnet18.tv_in1k")
    assert row["licence"] == "bsd-3-clause"
    assert row["weights"] == ["timm/resnet18.tv_in1k"]
    assert main(["models", "vit_tiny*", "--pretrained"]) == 0
    text = capsys.readouterr().out
    assert "vit_tiny_patch16_224.augreg_in21k " in text
    assert "21843" in text


def test_listing_in_an_order(capsys):
    assert main(["models", "resnet?*", "--pretrained", "--sort", "top1", "--reverse", "--json"]) == 0
    accuracies = [row["top1"] for row in json.loads(capsys.readouterr().out)]
    known = [top1 for top1 in accuracies if top1 is not None]
    assert known == sorted(known, reverse=True)
    assert accuracies == known + [None] * (len(accuracies) - len(known))
    assert len(accuracies) > len(known) > 50


def test_listing_a_family(capsys):
    assert main(["models", "--family", "swin", "--json"]) == 0
    assert {row["family"] for row in json.loads(capsys.readouterr().out)} == {"swin"}
    assert main(["models", "--family", "swim"]) == 2
    assert "unknown family 'swim': there are " in capsys.readouterr().err


def test_a_listing_of_nothing_names_what_is_near(capsys):
    assert main(["models", "vit_bse_patch16_224"]) == 1
    assert "no model matches 'vit_bse_patch16_224'; did you mean 'vit_base_patch16_224'" in capsys.readouterr().err


def test_commands_import_jax_only_when_they_run():
    """The package itself left out, which is free to import what it exports."""
    code = f"""
import sys, types
package = types.ModuleType("jaxvision")
package.__path__ = [{str(ROOT / "jaxvision")!r}]
sys.modules["jaxvision"] = package
from jaxvision.cli import main
try:
    main(["predict", "--help"])
except SystemExit:
    pass
try:
    main([])
except SystemExit:
    pass
print([name for name in ("jax", "flax", "matplotlib", "sklearn", "skimage") if name in sys.modules], file=sys.stderr)
"""
    result = run("-c", code)
    assert result.stderr == "[]\n"


def test_importing_the_library_is_light():
    heavy = ("tensorflow_datasets", "orbax", "matplotlib", "sklearn", "skimage", "tensorflow", "torch", "tyro")
    result = run("-c", f"import jaxvision, sys; print([name for name in {heavy} if name in sys.modules])")
    assert result.stdout == "[]\n", result.stderr


def test_modules_that_the_docs_name_are_there_without_an_import_of_their_own():
    result = run("-c", "import jaxvision; jaxvision.nn.conv.implementation, jaxvision.macs.count_macs, jaxvision.data")
    assert result.returncode == 0, result.stderr


def test_the_script_is_the_command(tmp_path):
    result = run(str(ROOT / "scripts/predict.py"), "nothing.jpg", "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert json.loads(result.stdout)["errors"] == [
        {"file": "nothing.jpg", "message": "no such file or folder: 'nothing.jpg'"}
    ]
    assert result.stderr == "jaxvision: no such file or folder: 'nothing.jpg'\n"


def test_a_reader_that_has_had_enough():
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from jaxvision.cli import main; sys.exit(main(['models', '--json']))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_the_librarys_warnings_are_lines_and_no_others(monkeypatch, capsys):
    from jaxvision.weights import WeightsWarning

    def warn(self):
        for _ in range(2):
            warnings.warn("the file is odd", WeightsWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("jaxvision.cli.models.Command.run", warn)
    with pytest.warns(UserWarning, match="something else") as others:
        assert main(["models"]) == 0
    assert capsys.readouterr().err == "jaxvision: the file is odd\n"
    assert len(others) == 1


def test_control_c(monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxvision.cli.models.Command.run", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "jaxvision: interrupted\n"
