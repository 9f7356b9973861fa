"""Whether probabilities mean what they say."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, in bins of equal width.

    Attributes:
        edges: of the bins, from 0 to 1; a bin includes its upper edge.
        counts: examples in each bin.
        confidence: mean probability of the predicted class in each bin; NaN in an empty one.
        accuracy: share of correct predictions in each bin; NaN in an empty one.
    """

    edges: Float[np.ndarray, " bins+1"]
    counts: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean gap of confidence and accuracy, weighted by the bins' counts."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def reliability(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"], bins: int = 15) -> Reliability:
    """Bins the most probable class's probability (Guo et al. 2017, section 2).

    A decision threshold plays no part: this measures the probabilities, not a decision made with them.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    return Reliability(
        edges=edges,
        counts=counts,
        confidence=np.bincount(places, confidence, minlength=bins) / filled,
        accuracy=np.bincount(places, correct, minlength=bins) / filled,
    )


def brier_score(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"]) -> float:
    """The mean squared distance of the probabilities from the truth (Brier 1950).

    Summed over the classes, so from 0 to 2; for two classes of the second class alone, so from 0 to 1, as is usual.
    """
    if probabilities.shape[1] == 2:
        return float(((probabilities[:, 1] - labels) ** 2).mean())
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return float((np.einsum("nk,nk->n", probabilities, probabilities) - 2 * own + 1).mean())
