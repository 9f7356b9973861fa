"""Optimisers by timm's names, from optax, with weight decay, clipping and learning rates per parameter.

| name | what it is | weight decay |
|---|---|---|
| sgd | momentum, Nesterov's | in the gradient |
| momentum | momentum, Polyak's | in the gradient |
| sgdw | as sgd | decoupled |
| adam, nadam, radam, adamax | Kingma and Ba 2015; Dozat 2016; Liu et al. 2020 | in the gradient |
| adamw, nadamw | the same, after Loshchilov and Hutter 2019 | decoupled |
| adabelief | Zhuang et al. 2020 | decoupled |
| adagrad, adadelta, rmsprop | PyTorch's | in the gradient |
| rmsproptf | TensorFlow's: epsilon in the root, moments from 1 | in the gradient |
| adafactor | Shazeer and Stern 2018, relative to the parameters' scale | decoupled |
| lamb | You et al. 2020; gradients clipped to norm 1 first | in the direction, before the trust ratio |
| lars | You et al. 2017 | in the gradient and in the trust ratio |
| lion | Chen et al. 2023 | decoupled |

"In the gradient" is L2 regularisation, as PyTorch's sgd and adam have it; "decoupled" subtracts ``lr * decay * param``.
The numbers are timm's but in three places: nadam and nadamw correct the bias as Dozat does (optax), not by PyTorch's
momentum schedule or Google's variant; the learning rate of rmsproptf stays outside of its momentum; adafactor factors
the moments only of matrices with both sides of at least 128 (optax).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32

from jaxvision.paths import flatten, nest, suggestion
from jaxvision.training.groups import layer_groups, lr_multipliers, weight_decays

Schedule = Callable[[Int32[Array, ""]], Float32[Array, ""]]


@dataclass(frozen=True)
class Optimizer:
    """An optax transformation without a learning rate, and the learning rate, which is applied in one place.

    Attributes:
        tx: gradients to directions; it decides about weight decay and clipping, too.
        schedule: learning rate as a function of the number of updates done.
        lr_mult: multipliers of the learning rate, a tree of floats like the parameters; None for 1 everywhere.
    """

    tx: optax.GradientTransformation
    schedule: Schedule
    lr_mult: Any = None

    def init(self, params: Any) -> Any:
        """The state for these parameters."""
        return self.tx.init(params)

    def update(
        self, grads: Any, opt_state: Any, params: Any, step: Int32[Array, ""], lr_scale: Float32[Array, ""]
    ) -> tuple[Any, Any, Float32[Array, ""]]:
        """``-lr * lr_mult * direction``, to be added to the parameters.

        Args:
            grads: gradients, like ``params``.
            opt_state: from `init` or the last update.
            params: the parameters as they are.
            step: updates done so far.
            lr_scale: multiplies the schedule.

        Returns:
            updates, the optimiser's new state, and ``lr = schedule(step) * lr_scale``.
        """
        directions, opt_state = self.tx.update(grads, opt_state, params)
        lr = jnp.asarray(self.schedule(step), jnp.float32) * lr_scale
        if self.lr_mult is None:
            return jax.tree.map(lambda d: (-lr * d).astype(d.dtype), directions), opt_state, lr
        updates = jax.tree.map(lambda d, mult: (-lr * mult * d).astype(d.dtype), directions, self.lr_mult)
        return updates, opt_state, lr


@dataclass(frozen=True)
class _Settings:
    momentum: float
    betas: tuple[float, float] | None
    eps: float | None
    decays: Any  # a tree of floats

    def eps_or(self, default: float) -> float:
        return default if self.eps is None else self.eps

    def adam(self, eps: float = 1e-8, **options: Any) -> optax.GradientTransformation:
        b1, b2 = self.betas or (0.9, 0.999)
        return optax.scale_by_adam(b1, b2, self.eps_or(eps), **options)

    def two_betas(self, transformation: Callable[..., optax.GradientTransformation], eps: float = 1e-8) -> Any:
        b1, b2 = self.betas or (0.9, 0.999)
        return transformation(b1, b2, eps=self.eps_or(eps))

    def coupled(self, direction: optax.GradientTransformation) -> optax.GradientTransformation:
        return optax.chain(_add_decay(self.decays), direction)

    def decoupled(self, direction: optax.GradientTransformation) -> optax.GradientTransformation:
        return optax.chain(direction, _add_decay(self.decays))

    def rms(self, eps: float, **options: Any) -> optax.GradientTransformation:
        scale = optax.scale_by_rms(0.9, self.eps_or(eps), **options)
        return self.coupled(optax.chain(scale, optax.trace(self.momentum)))


def _lamb(s: _Settings) -> optax.GradientTransformation:
    # Parameters that do not decay take no trust ratio either, as in the paper's code and timm's.
    decayed = jax.tree.map(bool, s.decays)
    ratio = optax.masked(optax.scale_by_trust_ratio(), decayed)
    return optax.chain(optax.clip_by_global_norm(1.0), s.decoupled(s.adam(1e-6)), ratio)


def _lars(s: _Settings) -> optax.GradientTransformation:
    return optax.chain(_scale_by_layer_ratio(s.decays, eps=s.eps_or(1e-8)), optax.trace(s.momentum))


def _adafactor(s: _Settings) -> optax.GradientTransformation:
    return s.decoupled(
        optax.chain(
            optax.scale_by_factored_rms(epsilon=s.eps_or(1e-30)),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_param_block_rms(),
        )
    )


OPTIMIZERS: dict[str, Callable[[_Settings], optax.GradientTransformation]] = {
    "sgd": lambda s: s.coupled(optax.trace(s.momentum, nesterov=True)),
    "momentum": lambda s: s.coupled(optax.trace(s.momentum)),
    "sgdw": lambda s: s.decoupled(optax.trace(s.momentum, nesterov=True)),
    "adam": lambda s: s.coupled(s.adam()),
    "adamw": lambda s: s.decoupled(s.adam()),
    "nadam": lambda s: s.coupled(s.adam(nesterov=True)),
    "nadamw": lambda s: s.decoupled(s.adam(nesterov=True)),
    "radam": lambda s: s.coupled(s.two_betas(optax.scale_by_radam)),
    "adamax": lambda s: s.coupled(s.two_betas(optax.scale_by_adamax)),
    "adabelief": lambda s: s.decoupled(s.two_betas(optax.scale_by_belief, 1e-16)),
    "adagrad": lambda s: s.coupled(optax.scale_by_rss(0.0, s.eps_or(1e-8))),
    "adadelta": lambda s: s.coupled(optax.scale_by_adadelta(0.9, s.eps_or(1e-6))),
    "rmsprop": lambda s: s.rms(1e-8, eps_in_sqrt=False),
    "rmsproptf": lambda s: s.rms(1e-10, eps_in_sqrt=True, initial_scale=1.0),
    "adafactor": _adafactor,
    "lamb": _lamb,
    "lars": _lars,
    "lion": lambda s: s.decoupled(optax.scale_by_lion(*(s.betas or (0.9, 0.99)))),
}


def make_optimizer(
    name: str,
    params: Mapping[str, Any],
    schedule: Schedule,
    *,
    weight_decay: float = 0.0,
    decay_rules: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
    lr_rules: Mapping[str, float] | None = None,
    clip_grad: float | None = None,
    clip_mode: str = "norm",
    momentum: float = 0.9,
    betas: tuple[float, float] | None = None,
    eps: float | None = None,
) -> Optimizer:
    """An optimiser by timm's name.

    Args:
        name: one of `OPTIMIZERS`; see the table above.
        params: the parameters to train, arrays or their shapes; rules are resolved against their names.
        schedule: learning rate as a function of the number of updates done (see `schedules.make_schedule`).
        weight_decay: see `groups.weight_decays`, as is ``decay_rules``.
        decay_rules: pattern to weight decay.
        layer_decay: see `groups.lr_multipliers`, as is ``lr_rules``.
        lr_rules: pattern to a factor of the learning rate.
        clip_grad: limit for gradients, by ``clip_mode``; None for none.
        clip_mode: ``"norm"`` (of all gradients together), ``"value"`` or ``"agc"`` (Brock et al. 2021, section 4: each
            unit's norm relative to its parameters'; not for the head).
        momentum: of sgd, momentum, sgdw, lars, rmsprop and rmsproptf.
        betas: of the others; None for the optimiser's own.
        eps: None for the optimiser's own.

    Raises:
        ValueError: an unknown name or mode, or a number that is out of range.
        PatternError: a rule's pattern selects no parameter.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimiser {name!r}{suggestion(name, OPTIMIZERS)}; there are {', '.join(OPTIMIZERS)}")
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    if betas is not None and not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be at least 0 and below 1, got {betas}")
    decays = weight_decays(params, weight_decay, decay_rules)
    settings = _Settings(momentum, betas, eps, decays)
    direction = OPTIMIZERS[name](settings)
    if clip_grad is not None:
        direction = optax.chain(_clipping(clip_grad, clip_mode, params), direction)
    return Optimizer(direction, schedule, lr_multipliers(params, layer_decay, lr_rules))


def _clipping(limit: float, mode: str, params: Mapping[str, Any]) -> optax.GradientTransformation:
    if limit <= 0:
        raise ValueError(f"clip_grad must be above 0, got {limit}")
    if mode == "norm":
        return optax.clip_by_global_norm(limit)
    if mode == "value":
        return optax.clip(limit)
    if mode == "agc":
        groups = layer_groups(flatten(params))
        head = max(groups.values()) or 1  # where everything is head, everything is clipped
        clipped = nest({name: group < head for name, group in groups.items()})
        return optax.masked(optax.adaptive_grad_clip(limit), clipped)
    raise ValueError(f"unknown clip_mode {mode!r}: there are norm, value and agc")


def _add_decay(decays: Any) -> optax.GradientTransformation:
    """Adds ``decay * param``, each parameter by its own decay."""
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, p, d: u + d * p, updates, params, decays))


def _scale_by_layer_ratio(decays: Any, eps: float, trust: float = 1e-3) -> optax.GradientTransformation:
    """``(g + d w) * trust * |w| / (|g| + d |w|)``, LARS's equation 6; plain ``g`` for parameters without decay."""

    def scaled(g: Array, w: Array, decay: float) -> Array:
        if not decay:
            return g
        w_norm, g_norm = jnp.linalg.norm(w.ravel()), jnp.linalg.norm(g.ravel())
        ratio = trust * w_norm / (g_norm + decay * w_norm + eps)
        return (g + decay * w) * jnp.where((w_norm > 0) & (g_norm > 0), ratio, 1.0)

    return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates, params, decays))
