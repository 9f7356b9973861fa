"""BatchNorm folded into the convolution before it, for inference.

With fixed statistics a norm is ``y * m + s`` for each channel, and a convolution is linear: ``m`` goes into its kernel
and ``s`` into its bias (Jacob et al. 2018, section 3.2), and the norm's pass over the feature map is saved.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.functional import to_functional
from jaxvision.interception import Hook, Site, intercept, is_hooked
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import BatchNorm
from jaxvision.paths import named_modules

Model = TypeVar("Model", bound=nnx.Module)

# Exactly these classes: what a subclass adds (weight standardisation, an activation) would be lost.
_LINEAR = (Conv2d, Linear, nnx.Conv, nnx.Linear)
_NORMS = (BatchNorm, nnx.BatchNorm)


class FoldedBatchNorm(nnx.Module):
    """What is left of a `BatchNorm` in a fused model: its place, so that paths and hooks stay as they were.

    Attributes:
        dtype: of the result, as the norm's was.
    """

    def __init__(self, dtype: DTypeLike):
        self.dtype = dtype

    def __call__(self, x: Float[Array, "... c"], train: bool = False) -> Float[Array, "... c"]:
        """The input as it is.

        Raises:
            ValueError: with ``train=True``.
        """
        if train:
            raise ValueError(_NO_TRAINING)
        return x.astype(self.dtype)


class FoldedFlaxBatchNorm(nnx.Module):
    """What is left of an `nnx.BatchNorm`: see `FoldedBatchNorm`.

    Attributes:
        dtype: of the result, as the norm's was.
        use_running_average: False raises, where ``model.train()`` or `nnx.view` has set it.
    """

    def __init__(self, dtype: DTypeLike):
        self.dtype = dtype
        self.use_running_average = True

    def __call__(
        self, x: Float[Array, "... c"], use_running_average: bool | None = None, *, mask: Any = None
    ) -> Float[Array, "... c"]:
        """The input as it is; ``mask`` is for statistics, of which there are none.

        Raises:
            ValueError: with ``use_running_average=False``.
        """
        if not (self.use_running_average if use_running_average is None else use_running_average):
            raise ValueError(_NO_TRAINING)
        return x.astype(self.dtype)

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Called by `nnx.view`."""
        if use_running_average is not None:
            self.use_running_average = use_running_average


_NO_TRAINING = (
    "this BatchNorm is folded into the convolution before it (jaxvision.fuse_batchnorm) and has no statistics to "
    "train: train the model that was fused, and fuse it again"
)


@dataclass(frozen=True)
class Fold:
    """A norm and the convolution it goes into.

    Attributes:
        conv: path of the convolution (or linear layer).
        norm: path of the BatchNorm.
        dtype: of the norm's result.
    """

    conv: str
    norm: str
    dtype: jnp.dtype


def foldable(model: nnx.Module, example: Any = None) -> tuple[Fold, ...]:
    """Which BatchNorms of a model can be folded, found by tracing one pass in evaluation.

    A norm can be if the result of a convolution or linear layer (`jaxvision.nn.Conv2d`, `jaxvision.nn.Linear`,
    `nnx.Conv`, `nnx.Linear`)
    enters it and nothing else does, whatever the modules around them are, and nothing but the norm uses that result.
    Subclasses of these layers and of the norms (ours and Flax's) are left alone, as are layers that share their kernel.

    Args:
        model: any `nnx.Module`; it is not changed.
        example: an input, array or `jax.ShapeDtypeStruct`; models of this library need none.

    Raises:
        ValueError: the model carries hooks, or is not of this library and there is no example.
    """
    if is_hooked(model):
        raise ValueError("the model carries hooks, which see its norms: fuse the model first, then intercept it")
    modules: dict[str, Any] = dict(named_modules(model))
    distinct = {id(module): path for path, module in reversed(modules.items()) if type(module) in (*_LINEAR, *_NORMS)}
    watched = [path for path in distinct.values() if path]
    kernels = Counter(id(modules[path].kernel) for path in watched if type(modules[path]) in _LINEAR)
    if not watched:
        return ()
    trace = _Trace()
    function, variables = to_functional(intercept(model, dict.fromkeys(watched, trace.hook)))
    shape = _example(model, example)
    jaxpr = jax.make_jaxpr(lambda variables, x: function(variables, x)[0])(variables, shape)
    used_elsewhere = set(_used_tags(jaxpr.jaxpr))
    folds = []
    for conv, tags in trace.tags.items():
        norms = {trace.norm_of.get(tag) for tag in tags}
        norm = norms.pop()
        if norm is None or norms or used_elsewhere & set(tags):
            continue
        if trace.norm_calls[norm] == len(tags) and kernels[id(modules[conv].kernel)] == 1:
            folds.append(Fold(conv, norm, trace.dtypes[norm]))
    return tuple(folds)


def fuse_batchnorm(model: Model, example: Any = None) -> Model:
    """A copy of a model for inference, its BatchNorms folded into the convolutions before them.

    The results are the model's but for rounding. A convolution's ``kernel`` keeps its path, shape and dtype; it gains a
    ``bias`` of the kernel's dtype if it had none; the norm's ``scale``, ``bias``, ``mean`` and ``var`` are gone. All
    modules keep their paths, and the norm's holds a `FoldedBatchNorm`, so that hooks and injected dropout find their
    sites. Norms that do not directly follow a convolution stay (`foldable` lists those that do). Load weights before
    you fuse: a checkpoint has the names of the model that was not fused.

    Args:
        model: any `nnx.Module`; it is not changed.
        example: see `foldable`.

    Raises:
        ValueError: no norm can be folded; or as `foldable`.

    Example:
        >>> fused = jaxvision.fuse_batchnorm(jaxvision.create_model("resnet50"))  # doctest: +SKIP
    """
    folds = foldable(model, example)
    if not folds:
        paths = [path for path, module in named_modules(model).items() if isinstance(module, _NORMS)]
        shown = ", ".join([*paths[:5], *(["..."] if len(paths) > 5 else [])])
        has = f"its {len(paths)} BatchNorms ({shown}) do not" if paths else "it has none"
        raise ValueError(
            f"nothing to fuse in {type(model).__name__}: a BatchNorm must directly follow a convolution, and {has}"
        )
    fused = nnx.clone(model, graph=True)
    modules: dict[str, Any] = dict(named_modules(fused))
    convs = {fold.conv: _values(modules[fold.conv], "kernel", "bias") for fold in folds}
    norms = {fold.norm: _values(modules[fold.norm], "scale", "bias", "mean", "var") for fold in folds}
    epsilons = {fold.norm: _epsilon(modules[fold.norm]) for fold in folds}

    @jax.jit  # one compilation, where eager arithmetic would compile every shape by itself
    def compute(convs: Any, norms: Any) -> dict[str, tuple[Array, Array]]:
        return {fold.conv: _folded(convs[fold.conv], norms[fold.norm], epsilons[fold.norm]) for fold in folds}

    results = compute(convs, norms)
    for fold in folds:
        conv, norm = modules[fold.conv], modules[fold.norm]
        kernel, bias = results[fold.conv]
        conv.kernel.set_value(kernel)
        conv.bias = nnx.data(nnx.Param(bias))  # where None was, which Flax takes for static
        if hasattr(conv, "use_bias"):
            conv.use_bias = True
        folded = FoldedBatchNorm(fold.dtype) if isinstance(norm, BatchNorm) else FoldedFlaxBatchNorm(fold.dtype)
        for path, module in modules.items():
            if module is norm:
                _put(fused, path, folded)
    return fused


@dataclass
class _Trace:
    """What the hooks of one traced pass see."""

    tags: dict[str, list[str]] = field(default_factory=dict)  # of every call of a convolution
    norm_of: dict[str, str | None] = field(default_factory=dict)  # tag to the norm it enters, None for several
    norm_calls: Counter[str] = field(default_factory=Counter)
    dtypes: dict[str, jnp.dtype] = field(default_factory=dict)
    outputs: list[tuple[Any, str]] = field(default_factory=list)

    def hook(self, site: Site, call: Hook, *args: Any, **kwargs: Any) -> Any:
        if site.module in _LINEAR:
            tag = f"{__name__}:{len(self.outputs)}"
            self.tags.setdefault(site.path, []).append(tag)
            output = checkpoint_name(call(*args, **kwargs), tag)
            self.outputs.append((output, tag))
            return output
        self.norm_calls[site.path] += 1
        entering = next((tag for output, tag in self.outputs if args and output is args[0]), None)
        if entering is None or not _plain(site, *args, **kwargs):
            return call(*args, **kwargs)
        self.norm_of[entering] = None if entering in self.norm_of else site.path
        # The norm's own use of the convolution's result is left out of the trace: any other use is one too many.
        output = call(jnp.zeros_like(args[0]), *args[1:], **kwargs)
        self.dtypes[site.path] = output.dtype
        return output

    hook.keeps_values = True  # type: ignore[attr-defined]


def _plain(site: Site, x: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call of a norm uses the running statistics, channel by channel of the last axis."""
    norm: Any = site.instance
    if isinstance(norm, BatchNorm):
        return not (args[0] if args else kwargs.get("train", False))
    running = args[0] if args else kwargs.get("use_running_average")
    return bool(norm.use_running_average if running is None else running) and norm.axis in (-1, x.ndim - 1)


def _used_tags(jaxpr: Any) -> Iterator[str]:
    """The tagged values of a jaxpr, and of those inside it, that any operation or result uses."""
    tag_of = {eqn.outvars[0]: eqn.params["name"] for eqn in jaxpr.eqns if eqn.primitive.name == "name"}
    for atoms in (*(eqn.invars for eqn in jaxpr.eqns), jaxpr.outvars):
        yield from (tag_of[atom] for atom in atoms if not hasattr(atom, "val") and atom in tag_of)
    for eqn in jaxpr.eqns:
        for value in eqn.params.values():
            for inner in value if isinstance(value, list | tuple) else [value]:
                inner = getattr(inner, "jaxpr", inner)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from _used_tags(inner)


def _folded(conv: Mapping[str, Array], norm: Mapping[str, Array], epsilon: float) -> tuple[Array, Array]:
    """Kernel and bias; the arithmetic is at least float32, the results have the kernel's dtype."""
    kernel, bias = conv["kernel"], conv.get("bias", 0)
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    multiplier = jax.lax.rsqrt(norm["var"].astype(dtype) + epsilon) * norm.get("scale", 1)
    bias = (bias - norm["mean"].astype(dtype)) * multiplier + norm.get("bias", 0)
    return (kernel.astype(dtype) * multiplier).astype(kernel.dtype), bias.astype(kernel.dtype)


def _values(module: Any, *names: str) -> dict[str, Array]:
    variables = {name: getattr(module, name) for name in names}
    return {name: variable.get_value() for name, variable in variables.items() if variable is not None}


def _epsilon(norm: Any) -> float:
    return float(norm.eps if isinstance(norm, BatchNorm) else norm.epsilon)


def _put(model: nnx.Module, path: str, new: nnx.Module) -> None:
    *parents, last = path.split(".")
    node: Any = model
    for part in parents:
        node = _child(node, part)
    if isinstance(node, Mapping):
        node[last] = new  # type: ignore[index]
    elif isinstance(node, Sequence):
        node[int(last)] = new  # type: ignore[index]
    else:
        setattr(node, last, new)


def _child(node: Any, name: str) -> Any:
    if isinstance(node, Mapping):
        return node[name]
    return node[int(name)] if isinstance(node, Sequence) else getattr(node, name)


def _example(model: nnx.Module, example: Any) -> Any:
    if example is not None:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), example)
    if not isinstance(model, ImageModel):
        raise ValueError(
            f"{type(model).__name__} is not a model of this library: give an example of its input, such as "
            "jax.ShapeDtypeStruct((1, 224, 224, 3), jax.numpy.float32), to trace it with"
        )
    size = getattr(model.config, "img_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    return jax.ShapeDtypeStruct((1, height, width, model.config.in_chans), jnp.float32)
