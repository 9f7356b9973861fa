import json

import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

import jaxvision
from jaxvision.cli import main
from jaxvision.weights import read_weights
from tests.reference.source_cases import CASES, read, weights

CASE = next(case for case in CASES if case.id == "torchvision_vit")
OPTIONS = ["--model-options", *["embed_dim", "16", "depth", "2", "num_heads", "2", "mlp_ratio", "2"]]
SIZES = ["--img-size", "32", "--num-classes", "10"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file(weights(read(CASE)[0]), path)
    return str(path)


def test_weights_are_converted_to_timms_names(file, tmp_path, capsys):
    output = tmp_path / "new" / "ours.safetensors"
    assert main(["convert", file, "--model", CASE.model, "--output", str(output), *SIZES, *OPTIONS]) == 0
    text = capsys.readouterr().out
    assert f"32 variables loaded from {file} (torchvision names)" in text
    assert f"wrote {output} (timm names)" in text
    written = read_weights(output)
    np.testing.assert_array_equal(written["patch_embed.proj.weight"], read_weights(file)["conv_proj.weight"])
    with safe_open(output, "numpy") as opened:
        assert opened.metadata()["architecture"] == CASE.model
        assert json.loads(opened.metadata()["config"])["embed_dim"] == 16
    model = nnx.eval_shape(lambda: jaxvision.create_model(CASE.model, **CASE.options))
    assert jaxvision.load_weights(model, output).format == "timm"


def test_the_architecture_in_the_file_is_todays_name(file, tmp_path, capsys):
    output = tmp_path / "ours.safetensors"
    assert (
        main(["convert", file, "--model", "vit_tiny_patch16_224_in21k", "--output", str(output), *SIZES, *OPTIONS]) == 0
    )
    with safe_open(output, "numpy") as opened:
        assert opened.metadata()["architecture"] == "vit_tiny_patch16_224"
    told = capsys.readouterr().err
    assert told.startswith("jaxvision: 'vit_tiny_patch16_224_in21k' is timm's former name of")
    assert told.count("former name") == 1


def test_types_and_our_own_names_can_be_written(file, tmp_path):
    output = tmp_path / "ours.safetensors"
    words = ["--output", str(output), "--to", "jaxvision", "--dtype", "bfloat16", "--format", "torchvision"]
    assert main(["convert", file, "--model", CASE.model, *words, *SIZES, *OPTIONS]) == 0
    assert str(read_weights(output)["head.kernel"].dtype) == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"--model": "vit_tinny_patch16_224"}, 2, "did you mean 'vit_tiny_patch16_224'"),
        ({"--num-classes": "9"}, 1, r"heads.head.weight: got (10, 16), expected (9, 16)"),
        ({"--num-classes": "9"}, 1, "--num-classes 10 keeps the file's classifier"),
        ({"--format": "timm"}, 1, "missing in the file"),
        ({"--format": "tim"}, 1, "unknown format 'tim'; did you mean 'timm'?"),
        ({"--output": "ours.pth"}, 1, "ends in '.safetensors'"),
        ({"--output": "/proc/nowhere/ours.safetensors"}, 1, "to '/proc/nowhere/ours.safetensors'"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(file, tmp_path, capsys, monkeypatch, changes, code, message):
    monkeypatch.chdir(tmp_path)
    words = {"--model": CASE.model, "--output": "ours.safetensors", "--img-size": "32", "--num-classes": "10"} | changes
    assert main(["convert", file, *(word for pair in words.items() for word in pair), *OPTIONS]) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.safetensors"]
