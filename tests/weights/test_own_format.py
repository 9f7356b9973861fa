"""What was saved from a model here comes back: names and layouts of our own."""

import jax
import numpy as np
from safetensors.numpy import save_file

import jaxvision
from jaxvision.functional import variables_of
from jaxvision.paths import flatten


def test_a_saved_model_comes_back(tmp_path):
    for name, options in (("resnet18", {}), ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2})):
        saved, fresh = (jaxvision.create_model(name, num_classes=3, seed=seed, **options) for seed in (0, 1))
        variables = variables_of(saved)
        arrays = {n: np.asarray(v) for collection in variables.values() for n, v in flatten(collection).items()}
        save_file(arrays, tmp_path / "model.safetensors")
        report = jaxvision.load_weights(fresh, tmp_path / "model.safetensors")
        assert report.format == "jaxvision"
        jax.tree.map(np.testing.assert_array_equal, variables_of(fresh), variables)
