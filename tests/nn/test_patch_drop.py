import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.patch_drop import PatchDropout

X = jnp.arange(4 * 10 * 2.0).reshape(4, 10, 2)


def test_some_patches_of_each_image_stay_and_all_prefix_tokens():
    kept = PatchDropout(0.5, num_prefix_tokens=2)(X, nnx.Rngs(0))
    assert kept.shape == (4, 6, 2)
    np.testing.assert_array_equal(kept[:, :2], X[:, :2])
    patches = [{tuple(token) for token in image} for image in np.asarray(kept[:, 2:]).tolist()]
    assert all(len(image) == 4 for image in patches), "no patch twice"
    assert all(image <= {tuple(t) for t in np.asarray(X[i, 2:]).tolist()} for i, image in enumerate(patches))
    assert len({tuple(sorted(t[0] - 20 * i for t in image)) for i, image in enumerate(patches)}) > 1, "not all the same"


def test_without_a_key_all_stay():
    assert PatchDropout(0.5)(X) is X


def test_a_traced_rate_is_told():
    def run(rate):
        site = PatchDropout()
        site.rate = rate
        return site(X, nnx.Rngs(0))

    with pytest.raises(ValueError, match="cannot be traced"):
        jax.jit(run)(0.5)
