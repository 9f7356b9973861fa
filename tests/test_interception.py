import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional, variables_of
from jaxvision.interception import capture, features, intercept, sites
from jaxvision.paths import PatternError, named_modules, named_variables
from tests.compiled import run

VIT = {"img_size": 32, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 5}


def vit(**options):
    return jaxvision.create_model("vit_tiny_patch16_224", **{**VIT, **options})


X = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))


def silence(site, call, x, *args, **kwargs):
    return 0 * call(x, *args, **kwargs)


class Shared(nnx.Module):
    """One layer that runs twice, under two names; and nothing of ours."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.again = self.first
        self.norm = nnx.BatchNorm(3, use_running_average=True, rngs=rngs)
        self.idle = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.again(jax.nn.relu(self.first(x))))


def test_a_hook_runs_in_place_of_the_module():
    model = vit()
    view = intercept(model, {"blocks.*.mlp": silence, "blocks.*.attn": silence})
    expected = model.norm(model._embed(model.patch_embed(X)))
    np.testing.assert_allclose(run(view, X, method="forward_features"), expected, atol=1e-6)


def test_the_callers_model_is_untouched():
    model = vit()
    before, classes = run(model, X), [type(module) for module in named_modules(model).values()]
    graph = nnx.graphdef(model)
    view = intercept(model, {"**": silence})
    assert np.all(run(view, X) == 0)
    np.testing.assert_array_equal(run(model, X), before)
    assert [type(module) for module in named_modules(model).values()] == classes
    assert nnx.graphdef(model) == graph


def test_a_view_shares_variables_under_the_same_names():
    model = vit()
    view = intercept(model, {"blocks.*": silence})
    assert isinstance(view, type(model))
    ours, theirs = named_variables(model), named_variables(view)
    assert list(ours) == list(theirs)
    assert all(ours[name] is theirs[name] for name in ours)
    jax.tree.map(np.testing.assert_array_equal, variables_of(model), to_functional(view)[1])


def test_pass_through_hooks_change_no_bit():
    model = vit()
    view = intercept(model, {"**": lambda site, call, *args, **kwargs: call(*args, **kwargs)})
    np.testing.assert_array_equal(run(model, X), run(view, X))


@pytest.mark.parametrize("remat", [None, "full", "dots"])
def test_jit_vmap_grad_and_remat(remat):
    def noise(site, call, x, *args, **kwargs):
        return call(x, *args, **kwargs) * scale

    scale = 0.5
    view = intercept(vit(remat=remat), {"blocks.*.mlp": noise})
    apply, variables = to_functional(view)
    plain, _ = to_functional(intercept(vit(), {"blocks.*.mlp": noise}))

    def loss(params, x, apply=apply):
        return apply({**variables, "params": params}, x)[0].sum()

    each = jax.jit(loss)
    expected = jax.jit(jax.grad(lambda params: loss(params, X, plain)))(variables["params"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.jit(jax.grad(loss))(variables["params"], X),
        expected,
    )
    stacked = jax.jit(jax.vmap(loss, in_axes=(None, 0)))(variables["params"], jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(stacked, [each(variables["params"], x) for x in (X, 2 * X)], rtol=1e-5)


def test_a_hook_made_inside_a_trace_may_use_its_values():
    model = vit()

    @jax.jit
    def scaled(factor):
        return intercept(model, {"head": lambda site, call, x: factor * call(x)})(X)

    np.testing.assert_allclose(scaled(3.0), 3 * run(model, X), rtol=1e-5)


def test_hooking_after_jit_does_not_reach_the_compiled_model():
    model = vit()
    apply, variables = to_functional(model)
    run = jax.jit(apply)
    before = run(variables, X)[0]
    intercept(model, {"blocks.*": silence})
    np.testing.assert_array_equal(run(variables, X)[0], before)


@pytest.mark.parametrize("pattern", ["bn1", ""])
def test_to_functional_passes_train_and_dropout_through_a_view(pattern):
    """It knows from the signature what a call takes, so a view must have the model's."""
    model = jaxvision.create_model("resnet18", layers=(1,), channels=(8,), stem_width=8, num_classes=2, drop_rate=0.5)
    view = intercept(model, {pattern: lambda site, call, *args, **kwargs: call(*args, **kwargs)})
    apply, variables = to_functional(model)
    apply_view, _ = to_functional(view)
    for options in ({"train": True}, {"key": jax.random.key(2)}):
        found, expected = (
            jax.jit(lambda variables, f=f, options=options: f(variables, X[:, :16, :16], **options))(variables)
            for f in (apply_view, apply)
        )
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_no_match_raises_with_the_nearest():
    with pytest.raises(PatternError, match=r"did you mean 'blocks\.\*\.mlp"):
        intercept(vit(), {"blocks.*.mpl": silence})


def test_a_shared_module_is_found_under_every_name_and_counts_its_calls():
    model, seen = Shared(nnx.Rngs(0)), []

    def record(site, call, x):
        seen.append((site.path, site.aliases, site.call_index))
        return call(x)

    for pattern in ("again", "first"):
        view = intercept(model, {pattern: record})
        for _ in range(2):  # the count starts again with every pass
            seen.clear()
            view(jnp.ones((2, 3)))
            assert seen == [("again", ("first",), 0), ("again", ("first",), 1)]


def test_the_later_hook_is_the_outer_one():
    order = []

    def named(name):
        def hook(site, call, *args, **kwargs):
            order.append(name)
            return call(*args, **kwargs)

        return hook

    model = vit()
    run(intercept(intercept(model, {"head": named("inner")}), {"head": named("outer")}), X)
    assert order == ["outer", "inner"]
    order.clear()
    run(intercept(model, {"head": named("first"), "hea?": named("second")}), X)
    assert order == ["second", "first"]


def test_the_hidden_classes_are_made_once():
    model = vit()
    one, two = (type(intercept(model, {"head": silence}).head) for _ in range(2))
    assert one is two
    assert one.__name__ == "Linear"


def test_sites_of_a_view():
    view = intercept(vit(), {"blocks.*.mlp": silence})
    assert [site.path for site in sites(view)] == [f"blocks.{index}.mlp" for index in range(3)]
    assert sites(vit()) == ()


@pytest.mark.parametrize("options", [{}, {"remat": "full"}, {"scan": True}, {"scan": True, "remat": "dots"}])
def test_features(options):
    model = vit(**options)
    maps = jax.jit(lambda x: features(model, x, ["blocks.*", "patch_embed"]))(X)
    assert sorted(maps) == ["blocks.0", "blocks.1", "blocks.2", "patch_embed"]
    assert maps["blocks.0"].shape == (2, 5, 16)
    np.testing.assert_allclose(model.forward_head(model.norm(maps["blocks.2"])), run(model, X), atol=1e-5)


def test_features_of_shared_modules_and_of_idle_ones():
    model = Shared(nnx.Rngs(0))
    assert list(features(model, jnp.ones((2, 3)), "again")) == ["again", "again#1"]
    with pytest.raises(PatternError, match=r"not run by this pass.*idle"):
        features(model, jnp.ones((2, 3)), "**")


def test_capture_works_on_a_method_too():
    model = vit()
    view, captured = capture(model, "blocks.1.attn")
    view.forward_features(X)
    assert captured["blocks.1.attn"].shape == (2, 5, 16)


def test_gradients_reach_a_captured_map():
    """Grad-CAM: differentiate with respect to a map by adding a zero to it."""
    model = jaxvision.create_model("resnet18", num_classes=3)

    def score(delta):
        return intercept(model, {"layer4": lambda site, call, x, **kw: call(x, **kw) + delta})(X)[:, 1].sum()

    assert jax.jit(jax.grad(score))(jnp.zeros((2, 1, 1, 512))).shape == (2, 1, 1, 512)


def test_foreign_remat():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(3, 3, rngs=rngs)

        def __call__(self, x):
            return nnx.remat(lambda layer, x: layer(x))(self.layer, x)

    model = Net(nnx.Rngs(0))
    view = intercept(model, {"layer": lambda site, call, x: 2 * call(x)})
    x = jnp.ones((2, 3))
    np.testing.assert_allclose(view(x), 2 * model(x))
    apply, variables = to_functional(view)
    assert jax.grad(lambda v: apply(v, x)[0].sum())(variables)["params"]["layer"]["bias"].sum() == 12
