"""A network with stochastic sites, and what it predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.arguments import checked_key, checked_task, placed, row_numbers, shapes_of
from jaxvision.uncertainty.draw import Outputs, SiteError, draw_masks, masked_pass, visited
from jaxvision.uncertainty.linear_tail import closed_form, is_affine
from jaxvision.uncertainty.outcome import classification_prediction, regression_prediction
from jaxvision.uncertainty.plan import Plan, SiteSpec
from jaxvision.uncertainty.results import Moments, Prediction, RegressionPrediction
from jaxvision.uncertainty.sample import Chunk, Sampled, Sampling, sample
from jaxvision.uncertainty.sites import Sites, make_sites
from jaxvision.uncertainty.statistics import (
    ClassStatistic,
    LabelStatistic,
    Statistic,
    ValueStatistic,
    values_and_noise,
)

_NUMERIC = ("regression", "heteroscedastic")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Net:
    """A network with stochastic sites: what `inject` returns. A pytree, so that it may be an argument of `jax.jit`.

    Attributes:
        variables: of the network, as `jaxvision.to_functional` gives them.
        function: ``(variables, images) -> outputs``; its sites read the current pass (see `draw`).
        plain: the same without sites.
        plan: the sites and their rates.
        task: what the outputs are.
        example: shapes of an input, or None.
    """

    variables: Any
    function: Outputs = field(metadata={"static": True})
    plain: Outputs = field(metadata={"static": True})
    plan: Plan = field(metadata={"static": True})
    task: str = field(metadata={"static": True})
    example: Any = field(metadata={"static": True}, default=None)

    @property
    def rate(self) -> float:
        """The largest rate of any site."""
        return self.plan.rate

    @property
    def sites(self) -> Sites:
        """The stochastic sites, as a table that prints itself.

        Raises:
            ValueError: the input's shape is not known: call `try_on` first, or give ``example`` to `inject`.
        """
        if self.example is None:
            raise ValueError(
                "give inject(..., example=images) to see the sites' shapes, or use net.try_on(images).sites"
            )
        return make_sites(self.function, self.plan, self.variables, self.example)

    def try_on(self, images: Any) -> "Net":
        """The same network with the shape of these images for an example.

        Raises:
            SiteError: a site is not run by a pass.
        """
        example = shapes_of(images)
        visited(self.function, self.plan.sites, self.variables, example)
        return replace(self, example=example)

    def with_rate(self, rate: float) -> "Net":
        """The same sites at another rate: the largest becomes ``rate``, the others stay in proportion."""
        return replace(self, plan=self.plan.with_rate(rate))

    def with_task(self, task: str) -> "Net":
        """The same network, its outputs read otherwise."""
        return replace(self, task=checked_task(task))

    def with_variables(self, variables: Any) -> "Net":
        """The same sites in a network of other weights, for instance trained further."""
        return replace(self, variables=variables)

    def deterministic(self, images: Any) -> Float[Array, "b ..."]:
        """The outputs of the network without dropout, in float32."""
        return _deterministic(self.plain, self.variables, images)

    def sample(self, images: Any, key: jax.Array, rows: Int[Array, " b"] | None = None) -> Float[Array, "b ..."]:
        """The outputs of one random pass: a pure function, to `jax.vmap` over keys.

        Args:
            images: the network's input, examples first.
            key: of the pass.
            rows: numbers of the examples, on which their masks depend. Default: 0, 1, ...
        """
        sites, rates = self.plan.active, jnp.asarray(self.plan.active_rates, jnp.float32)
        visits = visited(self.function, sites, self.variables, images)
        masks = draw_masks(sites, visits, checked_key(key), rates, row_numbers(images, rows))
        return masked_pass(self.function)(masks, (self.variables, images))

    def predict(
        self,
        images: Any,
        key: jax.Array,
        num_samples: int = 100,
        *,
        temperature: Float[Array, ""] | float = 1.0,
        rows: Int[Array, " b"] | None = None,
        chunk: Chunk = "auto",
        budget: int | None = None,
        tolerance: float | None = None,
        keep: str | Sequence[str] = (),
        method: str = "auto",
        sharding: Any = None,
    ) -> Prediction:
        """Many random passes as one prediction with its uncertainty.

        What comes before the first site is computed once. The result depends on the key, the rows' numbers and
        ``num_samples``, not on how the work is divided. It may run under `jax.jit`; a batch may be sharded.

        Args:
            images: the network's input, examples first.
            key: a threefry key; the same key gives the same answer.
            num_samples: passes; with ``tolerance`` the most.
            temperature: divides the logits.
            rows: numbers of the examples. Their masks depend on them, so give a dataset's batches
                ``start + arange(b)``. Default: 0, 1, ...
            chunk: examples and samples to compute at a time, ``(examples, samples)``, or ``"auto"``.
            budget: bytes of intermediate values that ``"auto"`` aims at. Default: 16 MiB on a CPU, where that is the
                fastest, else 1 GiB.
            tolerance: stop when no example's standard error is larger: of a class's probability, or of the mean in the
                output's units. Checked chunk by chunk, after 16 samples at least.
            keep: ``"samples"`` to have every pass's probabilities or values too.
            method: of regression: ``"sample"``, ``"closed-form"``, or ``"auto"`` for the closed form where it is exact:
                where the output is linear in the masks (see `jaxvision.uncertainty.linear_tail`).
            sharding: a `jax.sharding.NamedSharding` of the samples' axis, to divide samples among devices.

        Raises:
            SiteError: a site is not run by the pass, or lies in a loop.
            ValueError: wrong arguments, or a network whose outputs do not fit its task.
        """
        kept = (keep,) if isinstance(keep, str) else tuple(keep)
        if set(kept) - {"samples"}:
            raise ValueError(f"keep takes 'samples', got {keep!r}")
        if method not in ("auto", "sample", "closed-form"):
            raise ValueError(f"method is 'auto', 'sample' or 'closed-form', got {method!r}")
        sampling = Sampling(num_samples, chunk, budget, tolerance, bool(kept), sharding)
        numeric = self.task in _NUMERIC
        if numeric and not kept and method != "sample" and (method != "auto" or self.has_linear_tail(images)):
            moments = self._closed_form(images, jnp.asarray([self.plan.active_rates], jnp.float32))
            return RegressionPrediction(moments.mean[0], moments.variance[0], None, moments.deterministic, jnp.int32(0))
        if method == "closed-form":
            raise ValueError("the closed form is for regression; `logit_moments` has it for logits")
        statistic = ValueStatistic(self.task) if numeric else ClassStatistic(self.task)
        rates = jnp.asarray([self.plan.active_rates], jnp.float32)
        degree = jnp.asarray(temperature, jnp.float32)
        done = self._sample(statistic, sampling, images, key, rates, rows, None if numeric else degree)
        return regression_prediction(self.task, done) if numeric else classification_prediction(self.task, done, degree)

    def moments(
        self,
        images: Any,
        key: jax.Array,
        rates: Float[Array, " r"],
        num_samples: int = 100,
        *,
        rows: Int[Array, " b"] | None = None,
        chunk: Chunk = "auto",
        budget: int | None = None,
    ) -> Moments:
        """Mean and variance of a regression's output at each of several rates, in one compiled function.

        All rates share the prefix and the random numbers. Where the output is linear in the masks both are exact, and
        nothing is sampled.

        Args:
            images: the network's input, examples first.
            key: a threefry key.
            rates: of the site with the largest rate; the others' stay in proportion.
            num_samples: passes at each rate.
            rows: see `predict`.
            chunk: see `predict`.
            budget: see `predict`.
        """
        if self.task not in _NUMERIC:
            raise ValueError(f"moments are of a regression's outputs; the task is {self.task!r}")
        grid = jnp.asarray(rates, jnp.float32)[:, None] * jnp.asarray(_shares(self.plan), jnp.float32)
        if self.has_linear_tail(images):
            return self._closed_form(images, grid)
        done = self._sample(
            ValueStatistic(self.task), Sampling(num_samples, chunk, budget), images, key, grid, rows, None
        )
        values, _ = values_and_noise(self.task, done.deterministic)
        return Moments(done.results["mean"], done.results["variance"], done.results.get("aleatoric"), values)

    def logit_moments(self, images: Any) -> Moments:
        """Exact mean and variance of the outputs, for each of one rate (the plan's), without sampling.

        Raises:
            ValueError: the outputs are not linear in the masks.
        """
        return self._closed_form(images, jnp.asarray([self.plan.active_rates], jnp.float32))

    def label_log_probs(
        self,
        images: Any,
        labels: Int[Array, " b"],
        key: jax.Array,
        rates: Float[Array, " r"],
        temperatures: Float[Array, " t"],
        num_samples: int = 100,
        *,
        rows: Int[Array, " b"] | None = None,
        chunk: Chunk = "auto",
        budget: int | None = None,
    ) -> Float[Array, "r t b"]:
        """Log of the averaged softmax at the labels, at each of several rates and temperatures, in one function.

        Of multi-label outputs the labels are ``(b, k)`` of 0 and 1, and the result has the axis of labels last.

        Args:
            images: the network's input, examples first.
            labels: class numbers.
            key: a threefry key; random numbers are common to all rates.
            rates: of the site with the largest rate; the others' stay in proportion.
            temperatures: what logits are divided by.
            num_samples: passes at each rate.
            rows: see `predict`.
            chunk: see `predict`.
            budget: see `predict`.
        """
        if self.task in _NUMERIC:
            raise ValueError(f"labels' probabilities are of a classification; the task is {self.task!r}")
        grid = jnp.asarray(rates, jnp.float32)[:, None] * jnp.asarray(_shares(self.plan), jnp.float32)
        done = self._sample(
            LabelStatistic(self.task),
            Sampling(num_samples, chunk, budget),
            images,
            key,
            grid,
            rows,
            jnp.asarray(temperatures, jnp.float32),
            jnp.asarray(labels, jnp.int32),
        )
        return jnp.moveaxis(done.results["log_probs"], 2, 1)

    def has_linear_tail(self, images: Any) -> bool:
        """Whether the outputs are linear in the masks, so that their mean and variance are exact without sampling."""
        if self.task == "heteroscedastic" or not self.plan.active:
            return False
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), images)
        return is_affine(self.function, self.plan.active, self.variables, shapes)

    def _closed_form(self, images: Any, grid: Float[Array, "r sites"]) -> Moments:
        if not self.has_linear_tail(images):
            raise ValueError("the outputs are not linear in the masks, so that there is no closed form: sample")
        mean, variance = closed_form(self.function, self.plan.active, self.variables, images, grid)
        return Moments(jnp.broadcast_to(mean, variance.shape), variance, None, mean)

    def _sample(
        self,
        statistic: Statistic,
        sampling: Sampling,
        images: Any,
        key: jax.Array,
        grid: Float[Array, "r sites"],
        rows: Int[Array, " b"] | None,
        context: Any,
        row_context: Any = None,
    ) -> Sampled:
        fixed = (self.variables, images, row_numbers(images, rows))
        return _compiled(
            self.function,
            self.plan.active,
            statistic,
            placed(sampling, images),
            checked_key(key),
            grid,
            fixed,
            context,
            row_context,
        )


def make_net(
    function: Outputs,
    plain: Outputs,
    variables: Any,
    plan: Plan,
    task: str,
    example: Any,
    groups: Mapping[str, Sequence[str]],
) -> Net:
    """A network from its function with sites.

    Args:
        function: ``(variables, images) -> outputs`` whose sites read `current_draw`.
        plain: the same without sites.
        variables: of the network.
        plan: the sites.
        task: one of `TASKS`, or ``"multiclass"``.
        example: shapes of an input, or None.
        groups: what was asked for, with the sites it selected: sites that never run are left out if others of the same
            group do.

    Raises:
        SiteError: none of a group's sites is run by a pass.
    """
    task = checked_task(task)
    if example is not None:
        plan = _running(function, plan, variables, example, groups)
    return Net(variables, function, plain, plan, task, example)


def _shares(plan: Plan) -> list[float]:
    shares = [rate / plan.rate for rate in plan.active_rates]
    if not shares:
        raise ValueError("all rates are 0, so that there is nothing to vary: inject with a rate above 0")
    return shares


def _running(function: Outputs, plan: Plan, variables: Any, example: Any, groups: Mapping[str, Sequence[str]]) -> Plan:
    """The plan without sites that never run, if others that the same pattern selected do."""
    ran = {visit.path for visit in visited(function, plan.sites, variables, example)}
    for label, paths in groups.items():
        if not ran & set(paths):
            raise SiteError(
                f"of what {label!r} selects nothing is run by a pass (perhaps entered by another method): "
                f"{', '.join(paths[:5])}"
            )
    return Plan(tuple(site for site in plan.sites if site.path in ran))


@partial(jax.jit, static_argnames=("plain",))
def _deterministic(plain: Outputs, variables: Any, images: Any) -> Float[Array, "b ..."]:
    return plain(variables, images).astype(jnp.float32)


@partial(jax.jit, static_argnames=("function", "sites", "statistic", "sampling"))
def _compiled(
    function: Outputs,
    sites: tuple[SiteSpec, ...],
    statistic: Statistic,
    sampling: Sampling,
    key: jax.Array,
    grid: Float[Array, "r sites"],
    fixed: Any,
    context: Any,
    row_context: Any,
) -> Sampled:
    return sample(function, sites, statistic, sampling, key, grid, fixed, context, row_context)
