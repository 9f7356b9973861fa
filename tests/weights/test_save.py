"""Files that are written: names, layouts, types, and that they appear whole or not at all."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

import jaxvision
from jaxvision.functional import variables_of
from jaxvision.paths import named_variables
from jaxvision.weights import WeightsError, load_weights, read_weights, save
from jaxvision.weights.layout import timm_name, timm_shape
from tests.reference.source_cases import CASES

MODELS = {case.model: case for case in reversed(CASES)}
SMALL = ["vit_base_patch16_siglip_224", "swin_tiny_patch4_window7_224", "tf_efficientnet_b0", "resnet50"]


def small(name: str, **options):
    return jaxvision.create_model(name, **MODELS[name].options, **options)


@pytest.mark.parametrize("format", ["timm", "jaxvision"])
@pytest.mark.parametrize("name", SMALL)
def test_what_is_saved_comes_back_to_the_bit(name, format, tmp_path):
    model, path = small(name, seed=1), tmp_path / "model.safetensors"
    jaxvision.save_weights(model, path, format=format)
    fresh = nnx.eval_shape(lambda: small(name))
    report = load_weights(fresh, path)
    assert report.format == format
    jax.tree.map(np.testing.assert_array_equal, variables_of(fresh), variables_of(model))


@pytest.mark.parametrize("name", SMALL)
def test_names_and_shapes_are_timms(name, tmp_path):
    model = small(name)
    jaxvision.save_weights(model, tmp_path / "model.safetensors")
    written = {key: array.shape for key, array in read_weights(tmp_path / "model.safetensors").items()}
    shapes = {timm_name(n): timm_shape(n, v.get_value().shape) for n, v in named_variables(model).items()}
    counts = {n.replace("running_mean", "num_batches_tracked"): () for n in shapes if n.endswith("running_mean")}
    assert written == shapes | counts
    assert bool(counts) == (name in ("tf_efficientnet_b0", "resnet50"))


def test_half_precision_stays(tmp_path):
    model = small("resnet50", param_dtype=jnp.bfloat16)
    jaxvision.save_weights(model, tmp_path / "model.safetensors")
    written = read_weights(tmp_path / "model.safetensors")
    assert str(written["fc.weight"].dtype) == "bfloat16"
    assert written["bn1.running_var"].dtype == np.float32
    np.testing.assert_array_equal(written["fc.weight"], np.asarray(model.fc.kernel.get_value()).T)


def test_the_file_says_what_is_in_it(tmp_path):
    jaxvision.save_weights(small("resnet50"), tmp_path / "a.safetensors", metadata={"architecture": "resnet50"})
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["naming"], metadata["architecture"]) == ("pt", "timm", "resnet50")
    config = json.loads(metadata["config"])
    assert config["class"] == "ResNetConfig"
    assert config["num_classes"] == 10


def test_a_module_that_is_not_ours_is_saved_too(tmp_path):
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    jaxvision.save_weights(model, str(tmp_path / "folder" / "linear.safetensors"))
    written = read_weights(tmp_path / "folder" / "linear.safetensors")
    np.testing.assert_array_equal(written["weight"], np.asarray(model.kernel.get_value()).T)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    model, path = small("resnet50"), tmp_path / "model.safetensors"
    jaxvision.save_weights(model, path)
    before = path.read_bytes()

    def fail(arrays, part, metadata):
        part.write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(save, "save_file", fail)
    with pytest.raises(OSError, match="no room"):
        jaxvision.save_weights(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    jaxvision.save_weights(small("resnet50", seed=3), path)
    assert path.read_bytes() != before


def test_what_cannot_be_written_is_told(tmp_path):
    model = small("resnet50")
    with pytest.raises(WeightsError, match=r"'tim'; did you mean 'timm'\? there are 'timm' and 'jaxvision'"):
        jaxvision.save_weights(model, tmp_path / "a.safetensors", format="tim")
    with pytest.raises(WeightsError, match=r"ends in '\.safetensors', got .*a\.pth"):
        jaxvision.save_weights(model, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="abstract"):
        jaxvision.save_weights(nnx.eval_shape(lambda: small("resnet50")), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
