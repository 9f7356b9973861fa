"""Convolution: the textbook's identities, and every CPU form against XLA's own convolution in every transformation."""

import re
import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxvision.nn import conv
from jaxvision.nn._implementation import chosen_implementation
from jaxvision.nn.conv import Conv2d, conv2d

pytestmark = pytest.mark.usefixtures("optimised")

# name: (image, in_features, kernel shape, options). Between them they take every form in every direction.
CASES = {
    "depthwise": ((7, 6), 5, (3, 3, 1, 5), {"padding": 1, "groups": 5}),
    "depthwise 5x3 dilated SAME": ((9, 8), 4, (5, 3, 1, 4), {"padding": "SAME", "dilation": (2, 1), "groups": 4}),
    "depthwise padded beyond the window": ((5, 6), 4, (3, 3, 1, 4), {"padding": 4, "groups": 4}),
    "depthwise stride 2": ((7, 10), 5, (3, 5, 1, 5), {"stride": 2, "padding": (1, 2), "groups": 5}),
    "depthwise stride 2 SAME": ((8, 7), 5, (5, 5, 1, 5), {"stride": 2, "padding": "SAME", "groups": 5}),
    "depthwise stride over window": ((9, 10), 4, (2, 2, 1, 4), {"stride": (3, 4), "groups": 4}),
    "depthwise strided and dilated": ((9, 9), 4, (3, 3, 1, 4), {"stride": 2, "dilation": 2, "groups": 4}),
    "depthwise multiplier": ((6, 6), 3, (3, 3, 1, 6), {"padding": 1, "groups": 3}),
    "pointwise": ((4, 5), 6, (1, 1, 6, 3), {}),
    "pointwise stride": ((7, 8), 6, (1, 1, 6, 3), {"stride": (2, 3)}),
    "pointwise padded": ((4, 5), 6, (1, 1, 6, 3), {"padding": 1}),
    "dense": ((6, 7), 16, (3, 3, 16, 4), {"padding": 1}),
    "dense 2x3 SAME": ((5, 6), 16, (2, 3, 16, 4), {"padding": "SAME"}),
    "dense stride 2": ((7, 6), 16, (3, 3, 16, 4), {"stride": 2, "padding": 1}),
    "dense stride (2, 1) SAME": ((8, 7), 16, (3, 5, 16, 4), {"stride": (2, 1), "padding": "SAME"}),
    "dense dilated": ((8, 8), 16, (3, 3, 16, 4), {"padding": 2, "dilation": 2}),
    "stem": ((14, 12), 3, (7, 7, 3, 4), {"stride": 2, "padding": 3}),
    "grouped": ((6, 6), 8, (3, 3, 4, 6), {"padding": 1, "groups": 2}),
    "grouped in blocks": ((5, 5), 144, (3, 3, 48, 6), {"padding": 1, "groups": 3}),
    "grouped stride 2 in blocks": ((6, 5), 96, (3, 3, 8, 24), {"padding": "SAME", "stride": 2, "groups": 12}),
    "grouped 1x1": ((5, 5), 8, (1, 1, 4, 6), {"groups": 2}),
}
FORMS = ["depthwise", "depthwise stride 2 SAME", "pointwise stride", "grouped", "dense", "dense stride 2"]
all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_form = pytest.mark.parametrize("case", [CASES[name] for name in FORMS], ids=FORMS)


def draw(case, batch=3, dtype=jnp.float32, seed=0):
    (h, w), channels, kernel, _ = case
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal((batch, h, w, channels)), rng.standard_normal(kernel)
    return tuple(jnp.asarray(draw, dtype) for draw in draws)


def results(case, x, kernel, implementation, seed=1):
    """The output and both gradients for a fixed random cotangent."""
    f = partial(conv2d, **case[3], implementation=implementation)
    shape = jax.eval_shape(f, x, kernel).shape
    g = jnp.asarray(np.random.default_rng(seed).standard_normal(shape), x.dtype)

    @jax.jit
    def run(x, kernel, g):
        y, pull = jax.vjp(f, x, kernel)
        return (y, *pull(g))

    return run(x, kernel, g)


def assert_equal_to_rounding(case, got, want, x, kernel, eps):
    """Differences are bounded by the sums of absolute products, in units of the precision."""
    scales = results(case, jnp.abs(x).astype(jnp.float32), jnp.abs(kernel).astype(jnp.float32), "native")
    for name, a, b, scale in zip(("y", "dx", "dkernel"), got, want, scales, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()
        assert difference <= 8 * eps * max(1.0, float(jnp.abs(scale).max())), name


# What a convolution is.


def textbook(x, kernel, g, stride, dilation, pads, groups):
    """y, dL/dx and dL/dkernel by their defining sums, tap by tap, in float64."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    (kh, kw, i, _), (oh, ow, o) = kernel.shape, g.shape[1:]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    y, dkernel, dpadded = np.zeros(g.shape), np.zeros(kernel.shape), np.zeros(padded.shape)
    for r in range(kh):
        for c in range(kw):
            rows = slice(r * dilation[0], r * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(c * dilation[1], c * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
            for group in range(groups):
                ins = slice(group * i, (group + 1) * i)
                outs = slice(group * o // groups, (group + 1) * o // groups)
                seen = padded[:, rows, columns, ins]
                y[..., outs] += seen @ kernel[r, c, :, outs]
                dkernel[r, c, :, outs] = np.einsum("bhwi,bhwo->io", seen, g[..., outs])
                dpadded[:, rows, columns, ins] += g[..., outs] @ kernel[r, c, :, outs].T
    (top, _), (left, _) = pads
    return y, dpadded[:, top : top + x.shape[1], left : left + x.shape[2]], dkernel


@st.composite
def convolutions(draw):
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    i, o = draw(st.sampled_from([(1, 1), (1, 2), (3, 1), (16, 2)]))
    return {
        "size": draw(pair(1, 9)),
        "window": draw(pair(1, 4)),
        "stride": draw(pair(1, 3)),
        "padding": draw(st.one_of(pair(0, 3), st.just("SAME"))),
        "dilation": draw(pair(1, 2)),
        "groups": groups,
        "channels": (i * groups, o * groups),
    }


@given(convolutions())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_output_size_and_gradients_are_the_textbooks(c):
    size, window, stride, dilation = c["size"], c["window"], c["stride"], c["dilation"]
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if c["padding"] == "SAME":
        out = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        totals = [max((o - 1) * s + w - n, 0) for o, s, w, n in zip(out, stride, spans, size, strict=True)]
        pads = [(t // 2, t - t // 2) for t in totals]
    else:
        assume(all(n + 2 * p >= w for n, p, w in zip(size, c["padding"], spans, strict=True)))
        out = [(n - w + 2 * p) // s + 1 for n, w, p, s in zip(size, spans, c["padding"], stride, strict=True)]
        pads = [(p, p) for p in c["padding"]]
    i, o = c["channels"]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, i), np.float32)
    kernel = rng.standard_normal((*window, i // c["groups"], o), np.float32)
    f = partial(conv2d, stride=stride, padding=c["padding"], dilation=dilation, groups=c["groups"])
    y, pull = jax.vjp(jax.jit(f), x, kernel)
    assert y.shape == (2, *out, o)
    g = rng.standard_normal(y.shape, np.float32)
    want = textbook(x, kernel, g, stride, dilation, pads, c["groups"])
    for name, a, b in zip(("y", "dx", "dkernel"), (y, *pull(g)), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


def test_bias_gradient_is_the_sum_of_the_errors_over_positions():
    layer = Conv2d(3, 4, 3, padding=1, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(layer)
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    y, pull = jax.vjp(lambda state: nnx.merge(graphdef, state)(x), state)
    g = jax.random.normal(jax.random.key(1), y.shape)
    np.testing.assert_allclose(pull(g)[0]["bias"][...], g.sum((0, 1, 2)), rtol=1e-5)


def test_240_pixels_by_3_taps_at_stride_2_make_120():
    y = jax.eval_shape(partial(conv2d, stride=2, padding=1), jnp.zeros((1, 240, 240, 3)), jnp.zeros((3, 3, 3, 8)))
    assert y.shape == (1, 120, 120, 8)


@pytest.mark.parametrize(("window", "size", "low", "symmetric"), [(3, 8, 0, 1), (7, 14, 2, 3), (3, 7, 1, 1)])
def test_same_pads_after_the_image_where_symmetric_padding_would_not(window, size, low, symmetric):
    # A kernel that is 1 at its first tap reads pixel -low at the first output.
    x = jnp.arange(1.0, size + 1)[None, :, None, None] * jnp.ones((1, size, size, 1))
    kernel = jnp.zeros((window, window, 1, 1)).at[0, window // 2].set(1.0)
    column = window // 2 + 2
    for padding, pad in (("SAME", low), (symmetric, symmetric)):
        y = conv2d(x, kernel, stride=2, padding=padding)[0, :, column // 2, 0]
        rows = np.arange(0, size, 2)[: y.size] - pad
        np.testing.assert_array_equal(y, np.where(rows >= 0, rows + 1, 0))


# Every form is the native convolution to rounding.


@all_cases
def test_forms_equal_native(case):
    x, kernel = draw(case)
    auto, native = (results(case, x, kernel, implementation) for implementation in ("auto", "native"))
    assert_equal_to_rounding(case, auto, native, x, kernel, eps=np.finfo(np.float32).eps)


@each_form
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_forms_equal_native_in_half_precision(case, dtype):
    x, kernel = draw(case, dtype=dtype)
    auto, native = (results(case, x, kernel, implementation) for implementation in ("auto", "native"))
    assert_equal_to_rounding(case, auto, native, x, kernel, eps=float(jnp.finfo(dtype).eps) / 8)


@pytest.mark.parametrize("batch", [1, 8, 11, 12])
def test_depthwise_kernel_gradient_takes_any_batch(batch):
    case = CASES["depthwise"]
    x, kernel = draw(case, batch=batch)
    auto, native = (results(case, x, kernel, implementation) for implementation in ("auto", "native"))
    assert_equal_to_rounding(case, auto, native, x, kernel, eps=np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", ["depthwise", "pointwise", "dense"])
def test_empty_batch(name):
    x, kernel = draw(CASES[name], batch=0)
    y, dx, dkernel = results(CASES[name], x, kernel, "auto")
    assert y.shape[0] == 0
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dkernel, np.zeros(kernel.shape))


def loss(case, implementation="auto"):
    return lambda x, kernel: jnp.sum(jnp.sin(conv2d(x, kernel, **case[3], implementation=implementation)))


@each_form
def test_transformations_commute_with_a_loop(case):
    pairs = [draw(case, seed=seed) for seed in range(2)]
    xs, kernels = (jnp.stack(arrays) for arrays in zip(*pairs, strict=True))
    grad = jax.jit(jax.grad(loss(case), (0, 1)))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    both = jax.jit(jax.vmap(grad))(xs, kernels)
    over_x = jax.jit(jax.vmap(grad, (0, None)))(xs, kernels[0])
    over_kernels = jax.jit(jax.vmap(grad, (None, 0)))(xs[0], kernels)
    for n in range(2):
        jax.tree.map(close, [a[n] for a in both], list(grad(xs[n], kernels[n])))
        jax.tree.map(close, [a[n] for a in over_x], list(grad(xs[n], kernels[0])))
        jax.tree.map(close, [a[n] for a in over_kernels], list(grad(xs[0], kernels[n])))
    total = jax.jit(jax.grad(lambda kernel: jax.vmap(loss(case), (0, None))(xs, kernel).sum()))(kernels[0])
    close(total, over_x[1].sum(0))
    jax.tree.map(close, jax.jit(jax.grad(jax.checkpoint(loss(case)), (0, 1)))(*pairs[0]), grad(*pairs[0]))


def test_vmap_over_keys_equals_a_loop():
    case = CASES["depthwise"]
    x, kernel = draw(case)

    def noisy(key):
        mask = jax.random.bernoulli(key, 0.5, x.shape)
        return conv2d(x * mask, kernel, **case[3])

    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_allclose(jax.vmap(noisy)(keys), jnp.stack([noisy(key) for key in keys]), rtol=1e-5, atol=1e-5)


@each_form
def test_second_derivatives_equal_native(case):
    x, kernel = draw(case)

    def squared_gradients(implementation):
        grads = jax.grad(loss(case, implementation), (0, 1))
        return jax.jit(jax.grad(lambda *a: sum(jnp.sum(g**2) for g in grads(*a)), (0, 1)))(x, kernel)

    for a, b in zip(squared_gradients("auto"), squared_gradients("native"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()))


# The platform, and the way back to the native form.


@each_form
def test_a_gradient_is_compiled_once(case):
    """Outside `jax.jit` too: the form of each direction is one object, by which JAX's caches know it again."""
    x, kernel = draw(case)
    gradient = jax.grad(loss(case), (0, 1))
    gradient(x, kernel)
    compiled = conv._on_platform._cache_size()
    gradient(x, kernel)
    assert conv._on_platform._cache_size() == compiled


@each_form
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_the_native_convolution(case, platform):
    def convolutions(implementation, platform):
        grads = jax.jit(jax.value_and_grad(loss(case, implementation), (0, 1)))
        text = grads.trace(*draw(case)).lower(lowering_platforms=(platform,)).as_text()
        return sorted(re.findall(r"stablehlo\.(?:convolution|dot_general).*?\) (.*)", text))

    native = convolutions("native", platform)
    assert len(native) == 3
    assert convolutions("auto", platform) == native
    assert convolutions("auto", "cpu") != native


def test_native_context_is_part_of_the_jit_key_and_gives_forward_mode():
    case = CASES["depthwise"]
    x, kernel = draw(case)
    traces = []

    @jax.jit
    def f(x):
        traces.append(chosen_implementation())
        return conv2d(x, kernel, **case[3])

    f(x)
    with conv.implementation("native"):
        inside = f(x)
        tangent = jax.jvp(f, (x,), (x,))[1]
    f(x)
    assert traces == ["auto", "native"]
    np.testing.assert_allclose(tangent, inside, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, (x,), (x,))


def test_argument_overrides_the_context():
    case = CASES["pointwise"]
    x, kernel = draw(case)
    with conv.implementation("native"):
        text = jax.jit(partial(conv2d, implementation="auto")).trace(x, kernel).lower().as_text()
    assert "stablehlo.convolution" not in text


def test_sharded_batch_gives_the_same_gradients():
    script = """
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
        from jaxvision.nn.conv import conv2d

        def loss(x, depthwise, dense, strided, pointwise):
            x = jnp.sin(conv2d(x, depthwise, padding=1, groups=16))
            x = jnp.sin(conv2d(x, dense, padding=1))
            x = jnp.sin(conv2d(x, strided, padding=1, stride=2))
            return jnp.sin(conv2d(x, pointwise)).mean()

        keys = jax.random.split(jax.random.key(0), 5)
        x = jax.random.normal(keys[0], (16, 6, 6, 16))
        shapes = (3, 3, 1, 16), (3, 3, 16, 16), (3, 3, 16, 8), (1, 1, 8, 4)
        kernels = [jax.random.normal(key, shape) / 3 for key, shape in zip(keys[1:], shapes)]
        grad = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4)))
        want = grad(x, *kernels)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        got = grad(jax.device_put(x, NamedSharding(mesh, P("data"))),
                   *jax.device_put(kernels, NamedSharding(mesh, P())))
        for a, b in zip(got, want):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert len(got[0].sharding.device_set) == 8

        # The mapped axis tracked, which is JAX's default: gradients of what is the same on all devices are their sums.
        def mean(x, *kernels):
            return jax.lax.pmean(loss(x, *kernels), "data")

        by_device = jax.shard_map(jax.grad(mean, (0, 1, 2, 3, 4)), mesh=mesh, in_specs=(P("data"),) + (P(),) * 4,
                                  out_specs=(P("data"),) + (P(),) * 4)
        for a, b in zip(jax.jit(by_device)(x, *kernels), want):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    """
    program = "import jax; jax.config.update('jax_num_cpu_devices', 8)\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The module and bad input.


def test_module_parameters_dtypes_and_initialisation():
    layer = Conv2d(64, 256, 3, stride=2, padding="SAME", groups=4, rngs=nnx.Rngs(0))
    assert {path: leaf.shape for (path,), leaf in nnx.to_flat_state(nnx.state(layer))} == {
        "kernel": (3, 3, 16, 256),
        "bias": (256,),
    }
    np.testing.assert_allclose(layer.kernel[...].std(), np.sqrt(2 / (9 * 256 / 4)), rtol=0.05)
    assert not layer.bias[...].any()
    assert Conv2d(4, 4, 1, use_bias=False, rngs=nnx.Rngs(0)).bias is None

    half = Conv2d(4, 4, 3, dtype=jnp.bfloat16, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert half.kernel[...].dtype == jnp.float32
    assert half(jnp.ones((1, 4, 4, 4))).dtype == jnp.bfloat16
    assert Conv2d(4, 4, 3, rngs=nnx.Rngs(0))(jnp.ones((1, 4, 4, 4), jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((1, 3, 8, 8), (3, 3, 3, 4), {}, r"got images with 8 channels .* expected 3"),
        ((1, 8, 8, 8), (3, 3, 2, 4), {"groups": 2}, r"got images with 8 channels .* expected 4"),
        ((1, 8, 8, 4), (3, 3, 2, 5), {"groups": 2}, r"groups=2 does not divide the 5 output channels"),
        ((1, 2, 8, 4), (3, 3, 4, 4), {}, r"covers 3 pixels of height, but the image has 2"),
        ((1, 8, 4, 4), (3, 3, 4, 4), {"dilation": 3, "padding": (0, 1)}, r"covers 7 pixels of height|of width"),
        ((8, 8, 4), (3, 3, 4, 4), {}, r"expected \(b, h, w, c\)"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"padding": "VALID"}, r"'VALID', expected 'SAME', an int or a pair"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"padding": -1}, r"padding is -1"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"stride": 0}, r"stride is 0"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\)"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"implementation": "fast"}, r"'fast', expected one of 'auto', 'native'"),
    ],
)
def test_errors_name_what_was_got_and_expected(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.zeros(x), jnp.zeros(kernel), **options)


def test_module_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="groups=3 must divide in_features=4"):
        Conv2d(4, 6, 3, groups=3, rngs=nnx.Rngs(0))


def test_context_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="expected one of 'auto', 'native'"), conv.implementation("fast"):
        pass
