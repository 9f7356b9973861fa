"""The usual metrics at once, each set compiled as one function."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.metrics import classification, ood, regression, selective
from jaxvision.uncertainty.metrics.checks import distributions, flat, floats
from jaxvision.uncertainty.metrics.regression_calibration import ence, miscalibration_area, regression_uce
from jaxvision.uncertainty.metrics.sparsification import aurg, ause


@jax.jit
def classification_metrics(
    probs: Float[ArrayLike, "*b k"],
    labels: Int[ArrayLike, "*b"],
    uncertainty: Float[ArrayLike, "*b"] | None = None,
    log_probs: Float[ArrayLike, "*b k"] | None = None,
) -> dict[str, Float[Array, ""]]:
    """``accuracy``, ``nll``, ``brier``, ``ece``, ``ece_equal_mass``, ``uce``, ``aurc``, ``e_aurc``, ``augrc``.

    Args:
        probs: probabilities.
        labels: class indices.
        uncertainty: what the selective metrics rank by, higher meaning less sure; by default the largest probability,
            its order reversed.
        log_probs: the same probabilities' logarithms, for an ``nll`` that stays finite where a probability rounds to 0.

    Raises:
        ValueError: wrong shapes.
    """
    wrong = classification.errors(probs, labels)
    doubt = -distributions(probs).max(-1) if uncertainty is None else floats(uncertainty)
    if doubt.shape != jnp.shape(labels):
        raise ValueError(f"uncertainty must have the labels' shape, {jnp.shape(labels)}, got {doubt.shape}")
    doubt = doubt.reshape(-1)
    nll = classification.nll(probs, labels) if log_probs is None else classification.nll_from_logs(log_probs, labels)
    return {
        "accuracy": classification.accuracy(probs, labels),
        "nll": nll,
        "brier": classification.brier(probs, labels),
        "ece": classification.ece(probs, labels),
        "ece_equal_mass": classification.ece(probs, labels, equal_mass=True),
        "uce": classification.uce(probs, labels),
        "aurc": selective.aurc(doubt, wrong),
        "e_aurc": selective.e_aurc(doubt, wrong),
        "augrc": selective.augrc(doubt, wrong),
    }


@partial(jax.jit, static_argnames="level")
def regression_metrics(
    mean: Float[ArrayLike, "*b"],
    variance: Float[ArrayLike, "*b"],
    y: Float[ArrayLike, "*b"],
    *,
    level: float = 0.95,
) -> dict[str, Float[Array, ""]]:
    """The quality of Gaussians: likelihood, error, intervals, calibration and ranking.

    ``nll``, ``nll_skill``, ``rmse``, ``crps``, ``picp``, ``mpiw``, ``interval_score``, ``miscalibration_area``,
    ``ence``, ``uce``, ``ause`` and ``aurg``.

    Args:
        mean: predicted means.
        variance: predicted variances.
        y: targets.
        level: of the intervals.

    Raises:
        ValueError: the shapes differ, or the level is outside (0, 1).
    """
    flat(mean=mean, variance=variance, y=y)
    interval = regression.gaussian_interval(mean, variance, level=level)
    return {
        "nll": regression.gaussian_nll(mean, variance, y),
        "nll_skill": regression.nll_skill(mean, variance, y),
        "rmse": regression.rmse(mean, y),
        "crps": regression.crps(mean, variance, y),
        "picp": regression.picp(mean, variance, y, level=level),
        "mpiw": regression.mpiw(variance, level=level),
        "interval_score": regression.interval_score(*interval, y, level=level),
        "miscalibration_area": miscalibration_area(mean, variance, y),
        "ence": ence(mean, variance, y),
        "uce": regression_uce(mean, variance, y),
        "ause": ause(mean, variance, y),
        "aurg": aurg(mean, variance, y),
    }


@jax.jit
def ood_metrics(scores_in: Float[ArrayLike, " n"], scores_out: Float[ArrayLike, " m"]) -> dict[str, Float[Array, ""]]:
    """``auroc``, ``aupr`` and ``fpr95`` of a score that is higher for "out".

    Raises:
        ValueError: one of the sets is empty.
    """
    return {
        "auroc": ood.auroc(scores_in, scores_out),
        "aupr": ood.aupr(scores_in, scores_out),
        "fpr95": ood.fpr95(scores_in, scores_out),
    }
