import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.data import Preprocess
from jaxvision.data.mix import Mix, normalize

B, H, W, K = 6, 20, 30, 6
TARGETS = jnp.eye(B)
# Picture i is i everywhere, so that a mixed picture shows which share of it came from where.
IMAGES = jnp.broadcast_to(jnp.arange(B, dtype=jnp.float32)[:, None, None, None], (B, H, W, 2))


def apply_to_keys(mix, count=400):
    return jax.jit(jax.vmap(lambda key: mix(key, IMAGES, TARGETS)))(jax.random.split(jax.random.key(0), count))


def test_normalize_is_the_hosts():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    preprocess = Preprocess()
    normalized = jax.jit(lambda x: normalize(x, preprocess.mean, preprocess.std))(pixels)
    np.testing.assert_allclose(normalized, preprocess.normalize(pixels), rtol=1e-6, atol=1e-6)
    assert normalize(pixels, (0.5,), (0.5,), jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize(("alphas", "mode"), [((0.8, 0), "batch"), ((0, 1.0), "elem"), ((0.8, 1.0), "elem")])
def test_targets_have_the_share_of_the_pixels(alphas, mode):
    images, targets = apply_to_keys(Mix(*alphas, mode=mode))
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
    assert targets.min() >= 0
    # The mean pixel of picture i is lam i + (1 - lam) (b - 1 - i), and so is the mean class of its target.
    np.testing.assert_allclose(images.mean((2, 3, 4)), targets @ jnp.arange(K, dtype=jnp.float32), atol=1e-4)
    lam = targets[:, jnp.arange(B), jnp.arange(B)]
    same = np.ptp(np.asarray(lam), axis=1) < 1e-6
    assert same.all() if mode == "batch" else not same.any()


def test_cutmix_copies_one_rectangle_whose_centre_is_anywhere():
    images, targets = apply_to_keys(Mix(0, 1.0))
    replaced = np.asarray(images[:, 0, :, :, 0] == B - 1)
    assert np.isin(images[:, 0], [0, B - 1]).all()
    np.testing.assert_allclose(replaced.mean((1, 2)), targets[:, 0, B - 1], atol=1e-6)
    rows, columns = replaced.any(2), replaced.any(1)
    np.testing.assert_array_equal(replaced, rows[:, :, None] & columns[:, None, :])
    assert (np.abs(np.diff(rows, axis=1)).sum(1) <= 2).all()
    assert replaced.mean(0).min() > 0.02  # every pixel is in some box, the corners too
    # lam is uniform for alpha 1, but boxes are cut at the border: the share replaced is below 1/2, above 1/4.
    assert 0.25 < replaced.mean() < 0.45


def test_mixup_draws_lam_from_beta():
    for alpha in (0.2, 2.0):
        _, targets = apply_to_keys(Mix(alpha, 0), 2000)
        lam = np.asarray(targets[:, 0, 0])
        assert lam.mean() == pytest.approx(0.5, abs=0.03)
        assert lam.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_probabilities_are_kept():
    images, targets = apply_to_keys(Mix(1.0, 1.0, prob=0.6, switch_prob=0.3), 2000)
    untouched = np.asarray((targets == TARGETS).all((1, 2)))
    blended = np.asarray(~np.isin(np.asarray(images[:, 0]), [0, B - 1]).all((1, 2, 3)))
    assert blended.mean() == pytest.approx(0.6 * 0.7, abs=0.03)
    assert untouched.mean() == pytest.approx(0.4, abs=0.04)  # and a few boxes without a pixel
    images, targets = apply_to_keys(Mix(prob=0), 5)
    np.testing.assert_array_equal(images, np.broadcast_to(IMAGES, images.shape))
    np.testing.assert_array_equal(targets, np.broadcast_to(TARGETS, targets.shape))


def test_compiled_is_eager_for_every_draw_and_compiles_once():
    mix, traces = Mix(mode="elem"), 0

    def counted(key, images, targets):
        nonlocal traces
        traces += 1
        return mix(key, images, targets)

    compiled = jax.jit(counted)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3), jnp.bfloat16)
    for seed in range(3):
        key, numbers = jax.random.key(seed), jnp.arange(4.0)  # as in regression
        mixed, targets = compiled(key, images, numbers)
        assert (mixed.dtype, mixed.shape, targets.shape) == (images.dtype, images.shape, numbers.shape)
        eager = mix(key, images, numbers)
        np.testing.assert_allclose(mixed.astype(float), eager[0].astype(float), atol=0.02)
        np.testing.assert_allclose(targets, eager[1], atol=1e-6)
    assert traces == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixup_alpha": 0, "cutmix_alpha": 0}, "one must be greater than 0"),
        ({"mixup_alpha": -1}, "must not be negative"),
        ({"prob": 1.2}, "prob must be a probability"),
        ({"switch_prob": -0.1}, "switch_prob must be a probability"),
        ({"mode": "batches"}, "did you mean 'batch'"),
    ],
)
def test_wrong_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Mix(**fields)
