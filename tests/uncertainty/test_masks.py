import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.uncertainty.masks import apply_mask, draw_mask, kernel_mask, mask_shape
from jaxvision.uncertainty.plan import MASKS, Plan, SiteSpec

ROWS = jnp.arange(4)


@pytest.mark.parametrize(
    ("mask", "shape", "expected"),
    [
        ("element", (4, 6, 6, 8), (6, 6, 8)),
        ("gaussian", (4, 8), (8,)),
        ("channel", (4, 6, 6, 8), (1, 1, 8)),
        ("token", (4, 9, 8), (9, 1)),
        ("token", (4, 6, 6, 8), (6, 6, 1)),
        ("head", (4, 9, 8), (1, 2)),
        ("depth", (4, 6, 6, 8), (1, 1, 1)),
    ],
)
def test_shape(mask: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    spec = SiteSpec("a", mask, num_heads=2)  # type: ignore[arg-type]
    assert mask_shape(spec, shape) == expected
    drawn = draw_mask(spec, shape, jnp.float32(0.5), jax.random.key(0), ROWS)
    assert drawn.shape == (4, *expected)
    assert apply_mask(spec, jnp.ones(shape), drawn).shape == shape


def test_heads_on_an_axis_of_their_own() -> None:
    spec = SiteSpec("a", "head", num_heads=0)
    assert mask_shape(spec, (4, 9, 2, 8)) == (1, 2, 1)


@pytest.mark.parametrize("mask", [m for m in MASKS if m not in ("head", "connect")])
def test_the_mean_mask_is_one_and_the_variance_that_of_dropout(mask: str) -> None:
    spec, rate = SiteSpec("a", mask), 0.2  # type: ignore[arg-type]
    drawn = jax.vmap(lambda k: draw_mask(spec, (4, 10, 10), jnp.float32(rate), k, ROWS))(
        jax.random.split(jax.random.key(0), 4000)
    )
    np.testing.assert_allclose(drawn.mean(), 1, atol=0.02)
    np.testing.assert_allclose(drawn.var(), rate / (1 - rate), atol=0.02)


def test_kernel_mask_is_unbiased() -> None:
    drawn = kernel_mask((200, 200), jnp.float32(0.3), jax.random.key(0))
    np.testing.assert_allclose(drawn.mean(), 1, atol=0.02)
    assert set(np.unique(np.asarray(drawn)).round(4)) == {0.0, np.float32(1 / 0.7).round(4)}


def test_a_smaller_rate_keeps_what_a_larger_one_keeps() -> None:
    spec = SiteSpec("a")
    masks = [draw_mask(spec, (4, 500), jnp.float32(rate), jax.random.key(3), ROWS) > 0 for rate in (0.1, 0.3, 0.6)]
    assert bool((masks[1] <= masks[0]).all())
    assert bool((masks[2] <= masks[1]).all())
    assert not bool((masks[1] == masks[0]).all())


def test_rate_0_is_exactly_one() -> None:
    for mask in ("element", "gaussian", "depth"):
        drawn = draw_mask(SiteSpec("a", mask), (4, 50), jnp.float32(0), jax.random.key(3), ROWS)  # type: ignore[arg-type]
        assert bool((drawn == 1).all())


def test_a_row_has_its_mask_wherever_it_is() -> None:
    spec, key = SiteSpec("a"), jax.random.key(0)
    whole = draw_mask(spec, (4, 50), jnp.float32(0.5), key, ROWS)
    part = draw_mask(spec, (2, 50), jnp.float32(0.5), key, jnp.array([3, 1]))
    np.testing.assert_array_equal(part, whole[jnp.array([3, 1])])
    assert not bool((whole[0] == whole[1]).all())


def test_windows_folded_into_the_batch_follow_their_example() -> None:
    spec, key = SiteSpec("a"), jax.random.key(0)
    whole = draw_mask(spec, (8, 50), jnp.float32(0.5), key, ROWS)
    np.testing.assert_array_equal(draw_mask(spec, (2, 50), jnp.float32(0.5), key, ROWS[2:3]), whole[4:6])
    with pytest.raises(ValueError, match="6 rows for 4 examples"):
        draw_mask(spec, (6, 50), jnp.float32(0.5), key, ROWS)


def test_shared_over_the_batch() -> None:
    drawn = draw_mask(SiteSpec("a", shared=True), (4, 50), jnp.float32(0.5), jax.random.key(0), ROWS)
    assert drawn.shape == (1, 50)


def test_prefix_tokens_are_kept() -> None:
    spec = SiteSpec("a", "token", prefix_tokens=2)
    drawn = draw_mask(spec, (4, 9, 8), jnp.float32(0.99), jax.random.key(0), ROWS)
    assert bool((drawn[:, :2] == 1).all())
    assert bool((drawn[:, 2:] == 0).any())
    with pytest.raises(ValueError, match="2 tokens, of which 2"):
        mask_shape(spec, (4, 2, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask": "chanel"}, "did you mean 'channel'"),
        ({"at": "inside"}, "'input' or 'output'"),
        ({"rate": 1.0}, "below 1"),
        ({"rate": -0.1}, "at least 0"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SiteSpec("a", **settings)  # type: ignore[arg-type]


def test_plan_to_json_and_back() -> None:
    plan = Plan((SiteSpec("a.b", "token", prefix_tokens=1), SiteSpec("c", "head", "input", 0.2, True, num_heads=4)))
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.with_rate(0.1).sites[0].rate == pytest.approx(0.025)
    for wrong in ({"path": "a"}, [{"mask": "element"}], [{"path": "a", "colour": 1}], ["a"]):
        with pytest.raises(ValueError, match=r"list of sites|a site has"):
            Plan.from_json(wrong)
