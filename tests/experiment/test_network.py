"""Networks as the settings describe them: what is taken of the weights that they start from."""

import warnings

import numpy as np
import pytest

import jaxvision
from jaxvision.cli import main
from jaxvision.experiment.network import build_network
from jaxvision.paths import named_variables
from jaxvision.training.config import NetworkOptions
from jaxvision.training.losses import make_task
from jaxvision.weights import WeightsMismatchError, WeightsWarning
from tests.experiment.conftest import TINY, write_digits

SIZES = {"embed_dim": "32", "depth": "1", "num_heads": "2", "patch_size": "4"}


def build(classes, seed=0, **options):
    network = NetworkOptions(model="vit_tiny_patch16_224", img_size=(16,), in_chans=1, model_options=SIZES, **options)
    return build_network(network, make_task("multiclass", classes), seed).model


def values(model):
    return {name: np.asarray(variable.get_value()) for name, variable in named_variables(model).items()}


def test_a_head_of_several_layers_is_gone_on_with(tmp_path):
    path, start = tmp_path / "model.safetensors", {"initial_checkpoint": str(tmp_path / "model.safetensors")}
    old = build(3, head="mlp", head_hidden=(8, 4))
    jaxvision.save_weights(old, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsWarning)
        same = build(3, seed=1, head="mlp", head_hidden=(8, 4), **start)
    for name, value in values(old).items():
        np.testing.assert_array_equal(values(same)[name], value, err_msg=name)
    with pytest.warns(WeightsWarning, match="'head' is new: the file's classifier is for 3 classes"):
        other = build(5, seed=1, head="mlp", head_hidden=(8, 4), **start)
    assert other.head.out.kernel.shape == (4, 5)
    np.testing.assert_array_equal(other.cls_token[...], old.cls_token[...])
    for options in ({"head": "linear"}, {"head": "mlp", "head_hidden": (9, 4)}):
        with pytest.raises(WeightsMismatchError, match="num_classes=0"):
            build(3, **options, **start)


def test_hidden_layers_in_place_of_a_linear_head_are_new(tmp_path):
    path = tmp_path / "model.safetensors"
    jaxvision.save_weights(build(3), path)
    with pytest.warns(WeightsWarning, match="'head' is new: the file's classifier is a linear layer"):
        build(3, head="mlp", initial_checkpoint=str(path))


def test_a_new_head_is_a_line_on_the_command_line(run, tmp_path, capsys):
    folder, weights = write_digits(tmp_path / "photos", (0, 1), (40, 40)), str(run / "model.safetensors")
    words = ["train", str(folder), *TINY, "--initial-checkpoint", weights, "--freeze", "none"]  # ends there
    assert main([*words, "--output", str(tmp_path / "run")]) == 2
    line = f"jaxvision: {weights}: the classifier 'head' is new: the file's classifier is for 3 classes\n"
    assert line in capsys.readouterr().err
