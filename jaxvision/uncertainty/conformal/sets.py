"""Sets of classes from probabilities."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jaxvision.evaluation.checks import checked_labels, checked_probabilities
from jaxvision.uncertainty.conformal.quantile import conformal_quantile, finite_or_none
from jaxvision.uncertainty.metrics.checks import check_fraction, distributions

SetMethod = Literal["lac", "aps", "raps"]


@dataclass(frozen=True)
class ConformalSets:
    """Makes sets of classes. `fit_lac`, `fit_aps` and `fit_raps` make one of these.

    Attributes:
        method: ``"lac"``, ``"aps"`` or ``"raps"``.
        alpha: the share of sets that may miss the true class.
        quantile: a class is in the set if its score is at most this; infinite if there were too few rows.
        num_rows: rows it was fitted on.
        num_classes: classes.
        randomized: whether a class's own probability counts by a random share (APS and RAPS).
        penalty: of RAPS, for each rank after ``k_reg``.
        k_reg: of RAPS, the number of classes without a penalty.
    """

    method: SetMethod
    alpha: float
    quantile: float
    num_rows: int
    num_classes: int
    randomized: bool = False
    penalty: float = 0.0
    k_reg: int = 0

    def predict_sets(self, probs: Float[ArrayLike, "n k"], key: Array | None = None) -> Bool[Array, "n k"]:
        """Which classes are in each row's set; works under `jax.jit`.

        A set can be empty: no class conforms. It counts as a miss in the guarantee.

        Args:
            probs: probabilities, from the same predictor as those it was fitted on. Their values are checked outside
                of `jax.jit` only.
            key: a random key if ``randomized``; another one for each batch.

        Raises:
            ValueError: the wrong number of classes, no distributions, or a key where none is used or none where one is.
        """
        values = distributions(probs)
        if values.ndim != 2 or values.shape[1] != self.num_classes:
            raise ValueError(f"probs must have the shape (n, {self.num_classes}), got {values.shape}")
        if (key is not None) != self.randomized:
            raise ValueError(
                "these sets are randomised: give predict_sets a key"
                if self.randomized
                else "these sets are not randomised: give the key to the fit, or none to predict_sets"
            )
        if not isinstance(values, jax.core.Tracer):
            checked_probabilities(np.asarray(values))
        # Not "<=": under jit a row of NaN gets every class, not none.
        return ~(_set_scores(values, key, self.method, self.penalty, self.k_reg) > self.quantile)

    def evaluate(
        self, probs: Float[ArrayLike, "n k"], labels: Int[ArrayLike, " n"], key: Array | None = None
    ) -> dict[str, float]:
        """``coverage`` of the labels, ``mean_size`` of the sets, and the share that is ``empty``, on other rows.

        Raises:
            ValueError: as `predict_sets`, or labels that do not fit.
        """
        sets = np.asarray(self.predict_sets(probs, key))
        classes = checked_labels(np.asarray(labels), len(sets), self.num_classes)
        sizes = sets.sum(1)
        return {
            "coverage": float(sets[np.arange(len(sets)), classes].mean()),
            "mean_size": float(sizes.mean()),
            "empty": float((sizes == 0).mean()),
        }

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads; an infinite quantile is None, which JSON has a word for."""
        return {**asdict(self), "quantile": finite_or_none(self.quantile)}


def fit_lac(probs: Float[ArrayLike, "n k"], labels: Int[ArrayLike, " n"], alpha: float) -> ConformalSets:
    """Least ambiguous sets: every class with a probability above one threshold (Sadinle et al. 2019).

    The smallest sets on average if the probabilities are right; hard examples are covered less than easy ones.

    Args:
        probs: probabilities.
        labels: class indices.
        alpha: the share of sets that may miss the true class.

    Raises:
        ValueError: wrong shapes, no distributions, or alpha outside (0, 1).
    """
    return _fit_sets(probs, labels, alpha, None, "lac")


def fit_aps(
    probs: Float[ArrayLike, "n k"], labels: Int[ArrayLike, " n"], alpha: float, key: Array | None = None
) -> ConformalSets:
    """Adaptive sets: classes from the most probable one down until enough mass is reached (Romano et al. 2020).

    Sizes adapt to the example's difficulty. A class's score is the mass of the classes before it and, of its own
    probability, all (no key) or a share that is uniform on (0, 1) for each row (with a key; smaller sets, and the
    coverage of APS is then exact also where probabilities are exact).

    Args:
        probs: probabilities.
        labels: class indices.
        alpha: the share of sets that may miss the true class.
        key: a random key for randomised sets; ``predict_sets`` then needs one too.

    Raises:
        ValueError: wrong shapes, no distributions, or alpha outside (0, 1).
    """
    return _fit_sets(probs, labels, alpha, key, "aps")


def fit_raps(
    probs: Float[ArrayLike, "n k"],
    labels: Int[ArrayLike, " n"],
    alpha: float,
    key: Array | None = None,
    *,
    penalty: float = 0.01,
    k_reg: int = 5,
) -> ConformalSets:
    """`fit_aps` with a penalty on low ranks, against the noise in small probabilities (Angelopoulos et al. 2021).

    Args:
        probs: probabilities.
        labels: class indices.
        alpha: the share of sets that may miss the true class.
        key: a random key for randomised sets; ``predict_sets`` then needs one too.
        penalty: added to a class's score for each rank after ``k_reg`` (the paper's lambda).
        k_reg: ranks without a penalty. The defaults suit a thousand classes; with few, take the rank of the true class
            that is rarely exceeded. To tune either, use other rows.

    Raises:
        ValueError: wrong shapes, no distributions, alpha outside (0, 1), or a negative penalty or rank.
    """
    if penalty < 0 or k_reg < 0:
        raise ValueError(f"penalty and k_reg must be at least 0, got {penalty} and {k_reg}")
    return _fit_sets(probs, labels, alpha, key, "raps", penalty, k_reg)


def _fit_sets(
    probs: Float[ArrayLike, "n k"],
    labels: Int[ArrayLike, " n"],
    alpha: float,
    key: Array | None,
    method: SetMethod,
    penalty: float = 0.0,
    k_reg: int = 0,
) -> ConformalSets:
    check_fraction("alpha", alpha)
    values = distributions(probs)
    n, k = checked_probabilities(np.asarray(values)).shape
    classes = checked_labels(np.asarray(labels), n, k)
    scores = np.asarray(_set_scores(values, key, method, penalty, k_reg))[np.arange(n), classes]
    quantile = float(conformal_quantile(scores, alpha))
    return ConformalSets(method, float(alpha), quantile, n, k, key is not None, float(penalty), int(k_reg))


@partial(jax.jit, static_argnames="method")
def _set_scores(
    probs: Float[Array, "n k"], key: Array | None, method: SetMethod, penalty: float, k_reg: int
) -> Float[Array, "n k"]:
    """How badly each class conforms; with the key's uniform share of the class's own probability, or with all of it."""
    if method == "lac":
        return 1 - probs
    order = jnp.argsort(-probs, axis=-1)
    ranked = jnp.take_along_axis(probs, order, -1)
    before = jnp.concatenate([jnp.zeros_like(ranked[:, :1]), jnp.cumsum(ranked, -1)[:, :-1]], -1)
    share = 1.0 if key is None else jax.random.uniform(key, (len(probs), 1))
    # Rounding may take the mass of all classes above 1, and then not the same for the next row.
    scores = jnp.minimum(before + share * ranked, 1) + penalty * jnp.maximum(
        jnp.arange(1, probs.shape[1] + 1) - k_reg, 0
    )
    return jnp.take_along_axis(scores, jnp.argsort(order, axis=-1), -1)
