"""Linen modules, callable pytrees and plain functions are injected as `nnx.Module`s are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import ModifyScopeVariableError

from jaxvision import uncertainty as uq
from jaxvision.paths import PatternError
from jaxvision.uncertainty.adapters import drop, from_callable, from_function, from_linen, mark
from jaxvision.uncertainty.draw import visited

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 3))
W1, W2 = (jax.random.normal(jax.random.key(i), shape) for i, shape in ((2, (3, 8)), (3, (8, 2))))
PARAMS = {"w1": W1, "w2": W2}


class NnxNet(nnx.Module):
    def __init__(self) -> None:
        self.first = nnx.Linear(3, 8, use_bias=False, rngs=nnx.Rngs(0))
        self.last = nnx.Linear(8, 2, use_bias=False, rngs=nnx.Rngs(0))
        self.first.kernel.set_value(W1)
        self.last.kernel.set_value(W2)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.first(x)))


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(2, use_bias=False, name="last")(jax.nn.relu(nn.Dense(8, use_bias=False, name="first")(x)))


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    """A callable pytree of one example, as Equinox has them, written out."""

    weight: jax.Array
    name: str = field(metadata={"static": True}, default="layer")

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight


@jax.tree_util.register_dataclass
@dataclass
class Chain:
    first: Any
    activation: Any
    last: Any
    unused: Any = None

    def __call__(self, x: jax.Array) -> jax.Array:
        assert self.first.name == "layer"
        return self.last(self.activation(self.first(x)))


CHAIN = Chain(Layer(W1), jax.nn.relu, Layer(W2), Layer(W1))


@jax.jit
def sample(net: uq.Net) -> jax.Array:
    return net.sample(X, KEY)


def started(module: nn.Module, **settings: Any) -> Any:
    """Variables of a module, without compiling its initialisation."""
    shapes = jax.eval_shape(partial(module.init, **settings), KEY, X)
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype), shapes)


def plain(params: Any, x: jax.Array) -> jax.Array:
    return drop("last", jax.nn.relu(drop("first", x @ params["w1"])) @ params["w2"])


def marked(params: Any, x: jax.Array) -> jax.Array:
    first, last = mark("first", Layer(params["w1"])), mark("last", Layer(params["w2"]))
    return last(jax.nn.relu(first(x)))


LINEN = {"params": {"first": {"kernel": W1}, "last": {"kernel": W2}}}
MAKERS: dict[str, Callable[..., uq.Net]] = {
    "function": partial(from_function, plain, PARAMS),
    "one example": partial(from_function, plain, PARAMS, per_example=True),
    "compiled function": partial(from_function, jax.jit(plain), PARAMS),
    "marked layers": partial(from_function, marked, PARAMS),
    "callable": partial(from_callable, CHAIN),
    "linen": partial(from_linen, LinenNet(), LINEN),
    "linen, one example": partial(from_linen, LinenNet(), LINEN, per_example=True),
    "compiled linen": partial(from_linen, jax.jit(LinenNet().apply), LINEN),
}
jax.jit(plain)(PARAMS, X)  # what is compiled before must not swallow the sites
jax.jit(LinenNet().apply)(LINEN, X)


def test_every_adapter_draws_the_masks_of_the_same_nnx_module() -> None:
    where = {"first": 0.4, "las*": 0.2}
    nets = {name: make(where, mask="element", example=X, task="regression") for name, make in MAKERS.items()}
    same = uq.inject(NnxNet(), where, example=X, task="regression")
    for name, net in nets.items():
        assert net.plan == same.plan, name
        visits = visited(net.function, net.plan.sites, net.variables, net.example)
        assert [(v.path, v.call, v.shape, v.mask) for v in visits] == [
            ("first", 0, (2, 8), (8,)),
            ("last", 0, (2, 2), (2,)),
        ], name
    rows = jnp.arange(5) + 7
    expected, samples = jax.jit(
        lambda: (same.sample(X, KEY, rows), {n: net.sample(X, KEY, rows) for n, net in nets.items()})
    )()
    for name, drawn in samples.items():
        np.testing.assert_allclose(drawn, expected, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(nets[name].plain(nets[name].variables, X), plain(PARAMS, X), err_msg=name)
    assert not np.allclose(expected, plain(PARAMS, X))


@pytest.mark.parametrize("maker", ["function", "one example", "callable", "linen"])
def test_rate_0_is_the_function_bit_for_bit(maker: str) -> None:
    net = MAKERS[maker]("first", 0.0, example=X)
    np.testing.assert_array_equal(sample(net), np.asarray(plain(PARAMS, X)))


@pytest.mark.parametrize("maker", ["function", "one example", "callable", "linen"])
def test_linear_tail_has_its_closed_form(maker: str) -> None:
    net = MAKERS[maker]("last", 0.25, example=X, task="regression")
    np.testing.assert_allclose(net.logit_moments(X).variance[0], plain(PARAMS, X) ** 2 / 3, rtol=1e-5)


def test_a_plan_gives_the_same_sites_again() -> None:
    net = from_function(plain, PARAMS, {"first": 0.3}, mask="gaussian", example=X)
    again = from_function(plain, PARAMS, uq.Plan.from_json(net.plan.to_json()), example=X)
    assert again.plan == net.plan
    with pytest.raises(PatternError, match=r"'firsst' is no module.*'first'"):
        from_linen(LinenNet(), LINEN, uq.Plan((uq.SiteSpec("firsst"),)), example=X)


@pytest.mark.parametrize("maker", ["function", "callable", "linen"])
def test_no_match_raises(maker: str) -> None:
    with pytest.raises(PatternError, match=r"'frist'.*did you mean 'first'"):
        MAKERS[maker]("frist", example=X)


def test_what_never_runs_raises() -> None:
    with pytest.raises(uq.SiteError, match="unused"):
        from_callable(CHAIN, "unused", example=X)
    variables = {"params": {**LINEN["params"], "unused": {"kernel": W1}}}
    with pytest.raises(uq.SiteError, match="unused"):
        from_linen(LinenNet(), variables, "unused", example=X)
    with pytest.raises(uq.SiteError, match="unused"):
        from_linen(LinenNet(), variables, "unused", mask="connect", example=X)
    with pytest.raises(uq.SiteError, match="marks no site"):
        from_function(lambda params, x: x @ params["w1"], PARAMS, example=X)


@pytest.mark.parametrize("wrap", [jax.vmap, lambda f: jax.vmap(jax.jit(f))])
def test_a_site_inside_a_vmap_of_the_function_raises(wrap: Callable[..., Any]) -> None:
    with pytest.raises(uq.SiteError, match=r"jax.vmap.*per_example=True"):
        from_function(lambda params, x: wrap(lambda one: plain(params, one))(x), PARAMS, example=X)


def test_a_site_without_an_axis_of_examples_raises() -> None:
    def transposed(params: Any, x: jax.Array) -> jax.Array:
        return drop("first", (x @ params["w1"]).T).T

    for shared in (False, True):
        with pytest.raises(uq.SiteError, match=r"\(8, 2\) for 2 examples and \(8, 3\) for 3"):
            from_function(transposed, PARAMS, shared=shared, example=X)


def test_calls_of_a_shared_linen_module_have_masks_of_their_own() -> None:
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            shared = nn.Dense(64, name="shared")
            return jnp.stack([shared(x), shared(x)], axis=1)

    net = from_linen(Twice(), started(Twice()), "shared", 0.5, example=X)
    one, other = np.asarray(sample(net)).swapaxes(0, 1)
    assert net.sites[0].calls == 2
    assert 0.3 < np.mean((one == 0) != (other == 0)) < 0.7


class Inherited(nn.Dense):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x)


def test_linen_remat_jit_and_inheritance_are_masked_once() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.remat(nn.Dense)(3, name="remat")(x)
            x = nn.jit(nn.Dense)(3, name="jit")(x)
            return Inherited(3, name="inherited")(x)

    module = Net()
    variables = started(module)
    net = from_linen(module, variables, "*", 0.5, shared=True, example=X)
    assert [(site.path, site.calls) for site in net.sites] == [("remat", 1), ("jit", 1), ("inherited", 1)]
    drawn = sample(net)
    np.testing.assert_array_equal(module.apply(variables, X), net.deterministic(X))
    assert not np.allclose(drawn, net.deterministic(X))


def test_linen_scan_and_vmap_are_refused_but_for_their_weights() -> None:
    def stack(lift: Any) -> nn.Module:
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x: jax.Array) -> jax.Array:
                return lift(nn.Dense(3, name="dense"), x)

        return Net()

    over: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    scanned = stack(lambda dense, x: nn.scan(lambda m, c, _: (m(c), None), **over, length=4)(dense, x, None)[0])
    variables = started(scanned)
    with pytest.raises(uq.SiteError, match="loop"):
        from_linen(scanned, variables, "dense", example=X).predict(X, KEY, 2)
    net = from_linen(scanned, variables, "dense", 0.5, mask="connect", example=X)
    assert not np.allclose(sample(net), net.deterministic(X))
    members = stack(
        lambda dense, x: nn.vmap(lambda m, x: m(x), in_axes=None, out_axes=1, axis_size=4, **over)(dense, x)
    )
    with pytest.raises(uq.SiteError, match="vmap"):
        from_linen(members, started(members), "dense", example=X)


def test_linen_batch_normalisation_is_frozen() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            return nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(3, name="dense")(x))

    module = Net()
    variables = started(module, train=False)
    before = jax.tree.map(np.array, variables)
    net = from_linen(partial(module.apply, train=False), variables, "dense", 0.5, shared=True, example=X)
    expected: Any = module.apply(variables, X, train=False)
    np.testing.assert_allclose(net.deterministic(X), expected, rtol=1e-6)
    together, alone = jax.jit(lambda: (net.sample(X, KEY), net.sample(X[:1], KEY)))()
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5)  # not the statistics of the batch
    jax.tree.map(np.testing.assert_array_equal, before, variables)
    with pytest.raises(ModifyScopeVariableError):
        from_linen(partial(module.apply, train=True), variables, "dense", example=X)
    with pytest.raises(ValueError, match="'norm' has none"):
        from_linen(partial(module.apply, train=False), variables, "norm", mask="connect", example=X)


def test_dropped_weights_of_linen_and_of_a_function() -> None:
    linen = from_linen(LinenNet(), LINEN, "first", 0.5, mask="connect", example=X)

    def weights(params: Any, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ drop("first", params["w1"])) @ params["w2"]

    function = from_function(weights, PARAMS, "first", 0.5, mask="connect", example=X)
    single = from_function(weights, PARAMS, "first", 0.5, mask="connect", example=X, per_example=True)
    samples = jax.jit(lambda: [net.sample(X, KEY) for net in (linen, function, single)])()
    np.testing.assert_allclose(samples[0], samples[1], atol=1e-6)
    np.testing.assert_allclose(samples[0], samples[2], atol=1e-6)
    assert (linen.sites[0].at, linen.sites[0].elements) == ("kernel", 24)


def test_layers_of_a_callable_are_selected_by_path_kind_and_place() -> None:
    assert [s.path for s in from_callable(CHAIN, lambda path, layer: isinstance(layer, Layer), example=X).sites] == [
        "first",
        "last",
    ]
    activation = from_callable(CHAIN, "activation", 0.5, example=X)
    before_last = from_callable(CHAIN, "last", 0.5, at="input", example=X)
    assert activation.sites[0].shape == before_last.sites[0].shape == (8,)
    batches = from_callable(CHAIN, "last", 0.5, at="input", example=X, per_example=False)
    one, other = jax.jit(lambda: [net.sample(X, KEY) for net in (batches, before_last)])()
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert not np.allclose(one, plain(PARAMS, X))
    assert [type(layer) for layer in (CHAIN.first, CHAIN.last)] == [Layer, Layer]


def test_params_that_are_not_arrays_raise() -> None:
    with pytest.raises(TypeError, match=r"\['activation'\] is .*from_callable"):
        from_function(plain, {**PARAMS, "activation": jax.nn.relu}, example=X)
