from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision import uncertainty as uq
from jaxvision.models.head import MlpHead, replace_head
from jaxvision.paths import PatternError, named_modules, named_variables
from jaxvision.uncertainty.plan import Plan
from tests.uncertainty.conftest import Mlp, flat, tiny_vit

KEY = jax.random.key(0)


@jax.jit
def once(net: uq.Net, x: jax.Array) -> jax.Array:
    return net.sample(x, KEY)


def test_rate_0_is_bit_identical_and_another_is_not(mlp: Mlp, points: jax.Array, key: jax.Array) -> None:
    where = {"fc1": 0.0, "fc2": 0.0, "drop": 0.0, "out": 0.0}
    net = uq.inject(mlp, where)
    plain = net.deterministic(points)
    np.testing.assert_array_equal(net.predict(points, key, 3, chunk=(2, 2), keep="samples").num_samples, 3)
    np.testing.assert_array_equal(jax.jit(net.sample)(points, key), plain)
    assert not bool((uq.inject(mlp, dict.fromkeys(where, 0.1)).sample(points, key) == plain).all())


def test_model_is_as_it_was(points: jax.Array, key: jax.Array) -> None:
    model = Mlp()
    before, paths, classes = (
        flat(nnx.state(model)),
        list(named_variables(model)),
        [type(m) for m in named_modules(model).values()],
    )
    net = uq.inject(model, "**.fc*", 0.3)
    net.predict(points, key, 4)
    net.sample(points, key)
    assert list(named_variables(model)) == paths
    assert [type(m) for m in named_modules(model).values()] == classes
    for old, new in zip(before, flat(nnx.state(model)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_earlier_compiled_function_stays_deterministic(mlp: Mlp, points: jax.Array, key: jax.Array) -> None:
    apply, variables = jaxvision.to_functional(mlp)
    compiled = jax.jit(lambda x: apply(variables, x)[0])
    before = compiled(points)
    uq.inject(mlp, "fc1", 0.5).predict(points, key, 2)
    np.testing.assert_array_equal(compiled(points), before)


def test_batch_normalisation_runs_as_in_evaluation(points: jax.Array, key: jax.Array) -> None:
    model = Mlp()
    model(points)  # nnx.BatchNorm learns by default
    net = uq.inject(model, "out", 0.5, at="input")
    np.testing.assert_allclose(net.deterministic(points[:1]), net.deterministic(points)[:1], rtol=1e-5)


def test_each_site_and_each_call_has_its_own_mask(points: jax.Array) -> None:
    class Twins(nnx.Module):
        def __init__(self) -> None:
            self.a, self.b = nnx.Linear(5, 64, rngs=nnx.Rngs(0)), nnx.Linear(5, 64, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.stack([self.a(x), self.b(x), self.a(x)], -1)

    zeros = np.asarray(uq.inject(Twins(), ["a", "b"], 0.5, task="regression").sample(points, jax.random.key(0)) == 0)
    assert all(0.3 < zeros[..., index].mean() < 0.7 for index in range(3))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert 0.3 < (zeros[..., first] == zeros[..., second]).mean() < 0.7


def test_a_sites_mask_does_not_depend_on_the_other_sites(mlp: Mlp, points: jax.Array, key: jax.Array) -> None:
    alone = uq.inject(mlp, "fc1", 0.5).sample(points, key)
    together = uq.inject(mlp, {"fc1": 0.5, "out": 0.0}).sample(points, key)
    np.testing.assert_array_equal(alone, together)


def test_stacked_layers_have_different_masks_though_scanned(images: jax.Array) -> None:
    a, b = (once(uq.inject(tiny_vit(scan=scan), "blocks.*.mlp", 0.5), images) for scan in (False, True))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_foreign_scan_is_refused(points: jax.Array, key: jax.Array) -> None:
    class Scanned(nnx.Module):
        def __init__(self) -> None:
            @nnx.vmap(in_axes=0, out_axes=0)
            def layers(rngs: nnx.Rngs) -> nnx.Linear:
                return nnx.Linear(5, 5, rngs=rngs)

            self.layers = layers(nnx.Rngs(0).split(4))

        def __call__(self, x: jax.Array) -> jax.Array:
            graphdef, state = nnx.split(self.layers)

            def body(x: jax.Array, one: Any) -> tuple[jax.Array, None]:
                return nnx.merge(graphdef, one)(x), None

            return jax.lax.scan(body, x, state)[0]

    with pytest.raises(uq.SiteError, match=r"scan=False"):
        uq.inject(Scanned(), "layers", 0.5, task="regression").predict(points, key, 2)


def test_a_compiled_function_inside_the_network_is_traced_anew(points: jax.Array, key: jax.Array) -> None:
    @partial(jax.jit, static_argnums=0)
    def run(graphdef: Any, state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(x)

    class Inner(nnx.Module):
        def __init__(self) -> None:
            self.fc = nnx.Linear(5, 3, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return run(*nnx.split(self.fc), x)

    model = Inner()
    before = model(points)
    said = uq.inject(model, "fc", 0.5, task="regression").predict(points, key, 40, method="sample")
    assert float(said.epistemic.min()) > 0
    np.testing.assert_array_equal(model(points), before)


@pytest.mark.parametrize(
    ("where", "mask", "paths"),
    [
        ("head", None, ["head"]),
        ("last-stage", None, ["blocks.1.attn", "blocks.1.mlp"]),
        ("all-blocks", None, ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp"]),
        ("blocks.*.attn", "head", ["blocks.0.attn.proj", "blocks.1.attn.proj"]),
        ("blocks.1", "depth", ["blocks.1.drop_path1", "blocks.1.drop_path2"]),
        ("**.drop_path?", None, [f"blocks.{i}.drop_path{j}" for i in (0, 1) for j in (1, 2)]),
        ("blocks.*.attn.attn_drop", None, ["blocks.0.attn.attn_drop", "blocks.1.attn.attn_drop"]),
    ],
)
def test_presets_and_patterns(vit: Any, images: jax.Array, where: str, mask: Any, paths: list[str]) -> None:
    net = uq.inject(vit, where, 0.4, mask=mask)
    assert [site.path for site in net.plan.sites] == paths
    if "attn" in where:  # what is not simply masked at a module's door
        assert float(jnp.abs(once(net, images) - once(net.with_rate(0), images)).min()) > 0


def test_presets_of_convolutional_networks() -> None:
    net = uq.inject(nnx.eval_shape(lambda: jaxvision.create_model("tf_efficientnet_lite0")), "last-stage", 0.1)
    assert {(site.path, site.mask) for site in net.plan.sites} == {("blocks.6.0", "channel")}
    resnet = nnx.eval_shape(lambda: jaxvision.create_model("resnet18", num_classes=2))
    assert [s.path for s in uq.inject(resnet, "last-stage").plan.sites] == ["layer4.0", "layer4.1"]
    head = nnx.eval_shape(lambda: MlpHead(512, 2, rngs=nnx.Rngs(0)))
    replace_head(resnet, head)
    assert [s.path for s in uq.inject(resnet, "head").plan.sites] == ["fc.hidden.0.drop", "fc.hidden.1.drop"]


def test_sites_print_as_a_table(vit: Any) -> None:
    net = uq.inject(vit, {"blocks.1.mlp": 0.1, "re:head": 0.2}, at="input")
    table = str(net.sites)
    assert "blocks.1.mlp  element  input  0.1   5x16   80" in table
    assert "head          element  input  0.2   16     16" in table
    assert 0 < net.sites.share < 0.5
    assert str(uq.inject(vit, "blocks.0.mlp.fc1", mask="connect").sites).count("kernel") == 1


def test_token_masks_keep_the_class_token(vit: Any) -> None:
    assert uq.inject(vit, "blocks.1.mlp", mask="token").plan.sites[0].prefix_tokens == 1
    assert uq.inject(vit, "blocks.1.mlp", mask="token", prefix_tokens=0).plan.sites[0].prefix_tokens == 0


def test_drop_connect_is_unbiased(points: jax.Array) -> None:
    model = nnx.Linear(5, 2, rngs=nnx.Rngs(0))
    net = uq.inject(model, lambda path, module: path == "", 0.3, mask="connect", task="regression")
    sampled = jax.vmap(lambda key: net.sample(points, key))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(sampled.mean(0), model(points), atol=0.06)
    assert float(sampled.std(0).min()) > 0


def test_remat_blocks_can_be_injected(images: jax.Array) -> None:
    a, b = (once(uq.inject(tiny_vit(remat=remat), "blocks.*.mlp", 0.5), images) for remat in (None, "full"))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_plan_does_it_again(mlp: Mlp, points: jax.Array, key: jax.Array) -> None:
    net = uq.inject(mlp, {"fc1": 0.1, "fc2": 0.3})
    again = uq.inject(mlp, Plan.from_json(net.plan.to_json()))
    np.testing.assert_array_equal(net.sample(points, key), again.sample(points, key))
    with pytest.raises(PatternError, match="not the model's: fc1, fc2"):
        uq.inject(nnx.Linear(5, 2, rngs=nnx.Rngs(0)), net.plan)


def test_errors(mlp: Mlp, vit: Any, points: jax.Array, key: jax.Array) -> None:
    with pytest.raises(PatternError, match="did you mean 'fc1'"):
        uq.inject(mlp, "fc11")
    with pytest.raises(PatternError, match="did you mean 'last-stage'"):
        uq.inject(vit, "last-stages")
    with pytest.raises(PatternError, match="selects no module"):
        uq.inject(mlp, lambda path, module: False)
    with pytest.raises(ValueError, match="jaxvision's models only"):
        uq.inject(mlp, "last-stage")
    with pytest.raises(ValueError, match="below 1"):
        uq.inject(mlp, "fc1", 1.5)
    with pytest.raises(ValueError, match="attention modules"):
        uq.inject(vit, "blocks.0.mlp", mask="head")
    with pytest.raises(ValueError, match="has none"):
        uq.inject(vit, "blocks.0.mlp", mask="connect")
    with pytest.raises(ValueError, match="did you mean 'regression'"):
        uq.inject(mlp, "fc1", task="regresion")
    with pytest.raises(uq.SiteError, match="unused"):
        uq.inject(mlp, "unused").predict(points, key, 2)
    with pytest.raises(uq.SiteError, match="nothing is run"):
        uq.inject(mlp, "unused", example=points)
    assert [s.path for s in uq.inject(mlp, ["*fc?", "**.unused"][:1], example=points).plan.sites] == ["fc1", "fc2"]
