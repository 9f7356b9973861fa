"""A classification's findings in a few numbers and sentences, for a reader who has to decide what to do."""

from jaxvision.evaluation.html import quoted
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.page import counted
from jaxvision.evaluation.summary import Headline
from jaxvision.uncertainty.report.class_findings import KEPT, PLAIN, ClassFindings
from jaxvision.uncertainty.report.rows import PLAIN_SCORES

_REFERRED = KEPT.index(0.8)
_PERCENT = "20 %"


def class_headlines(found: ClassFindings) -> list[Headline]:
    """The numbers to see first."""
    rows = found.rows
    lines = []
    if found.measured:
        own = found.measured[found.main]
        wrong = int(found.wrong.sum())
        low, high = wilson_interval(len(rows.probs) - wrong, len(rows.probs))
        before = found.measured.get(PLAIN)
        lines += [
            Headline("Accuracy", f"{own['accuracy']:.3f}", f"95 % interval {low:.3f} to {high:.3f}"),
            Headline("ECE", f"{own['ece']:.3f}", f"without dropout {before['ece']:.3f}" if before else "0 is ideal"),
            Headline("NLL", f"{own['nll']:.3f}", f"without dropout {before['nll']:.3f}" if before else "in nats"),
            Headline("Surest 80 %", f"{found.kept['by confidence'][_REFERRED]:.3f}", "accuracy of these"),
        ]
        auroc = found.scores["confidence"]["auroc"]
        if auroc is not None:
            lines.append(Headline("Finds errors", f"{auroc:.3f}", "AUROC of the confidence"))
    else:
        lines += [
            Headline("Confidence", f"{rows.confidence.mean():.3f}", "mean"),
            Headline("Entropy", f"{rows.entropy.mean():.3f}", "mean, in nats"),
            Headline("Mutual information", f"{rows.mutual_information.mean():.3f}", "mean, in nats"),
        ]
    if found.outside is not None:
        lines.append(Headline("Finds strangers", f"{found.detection['mutual information']['auroc']:.3f}",
                              "AUROC of mutual information"))  # fmt: skip
    else:
        lines.append(Headline("Flipped", str(int(rows.flipped.sum())), "named otherwise without dropout"))
    return lines


def class_summary(found: ClassFindings) -> list[str]:
    """Paragraphs."""
    if not found.measured:
        words = [" ".join([_unlabelled(found), *_outside(found)])]
    else:
        words = [
            f"{_right(found)} {_calibrated(found)}",
            " ".join([_referral(found), *_disagreement(found), *_outside(found)]),
        ]
    return words + _conformal(found)


def _right(found: ClassFindings) -> str:
    rows = found.rows
    n, wrong = len(rows.probs), int(found.wrong.sum())
    low, high = (float(end) for end in wilson_interval(n - wrong, n))
    kind = "decisions" if len(set(rows.example.tolist())) < n else "examples"
    said = (
        f"{n - wrong} of {n} {kind} are predicted correctly: {(n - wrong) / n:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%})."
    )
    flips = int(rows.flipped.sum())
    if not flips:
        return f"{said} Dropout changes no predicted class."
    plain = float((rows.plain.argmax(axis=1) == rows.labels).mean())
    many = "1 prediction is" if flips == 1 else f"{flips} predictions are"
    return f"{said} Without dropout {many} another, and {plain:.1%} are correct."


def _calibrated(found: ClassFindings) -> str:
    own, gap = found.measured[found.main], found.difference
    assert gap is not None
    other = found.measured[gap.other]
    said = f"Its confidence and its accuracy differ by {own['ece']:.3f} on average (ECE)"
    if PLAIN in found.measured:
        said += f", those of the network as it was by {found.measured[PLAIN]['ece']:.3f}"
    numbers = f"NLL {own['nll']:.4g} against {other['nll']:.4g}, {gap}"
    rival = f"the {gap.other}, which needs no passes"
    verdict = {
        -1: f"Its probabilities are better than those of {rival}: {numbers}.",
        0: f"Whether its probabilities are better than those of {rival}, these examples cannot tell: {numbers}.",
        1: f"Its probabilities are not better but worse than those of {rival}: {numbers}. "
        f"For probabilities take the {gap.other}; what dropout may add is where the passes disagree, below.",
    }[gap.verdict]
    return f"{said}. {verdict}"


def _referral(found: ClassFindings) -> str:
    own, plain = found.kept["by confidence"], found.kept["by confidence, without dropout"]
    if own[0] == 1:
        return "No example is wrong here, so nothing can be gained by asking a person."
    change = "rises" if own[_REFERRED] > own[0] else "does not rise: it goes"
    return (
        f"If the {_PERCENT} least certain are sent to a person, the accuracy of the rest {change} from {own[0]:.1%} to "
        f"{own[_REFERRED]:.1%}; chosen by the network without dropout, it goes from {plain[0]:.1%} to "
        f"{plain[_REFERRED]:.1%}."
    )


def _disagreement(found: ClassFindings) -> list[str]:
    score, plain = found.scores["mutual information"], found.scores["confidence without dropout"]
    wrong, right, auroc = score["mean_wrong"], score["mean_right"], score["auroc"]
    if wrong is None or right is None or auroc is None or plain["auroc"] is None:
        return []
    how = "more" if wrong > right else "no more"
    return [
        f"The passes disagree {how} where the prediction is wrong: mutual information is {wrong:.4f} nats there and "
        f"{right:.4f} where it is right. It finds errors with an AUROC of {auroc:.3f}; the confidence of the network "
        f"without dropout finds its own with {plain['auroc']:.3f}."
    ]


def _outside(found: ClassFindings) -> list[str]:
    if found.outside is None:
        return []
    name, rows = found.outside
    own = {score: numbers["auroc"] for score, numbers in found.detection.items()}
    plain = max(own.pop(score) for score in PLAIN_SCORES)
    best = max(own, key=lambda score: own[score])
    gain = "" if own[best] > plain else " Dropout adds nothing to that here."
    return [
        f"{counted(len(rows.probs), 'example', 'examples')} of {quoted(name)}, which the network should not know, are "
        f"told from these with an AUROC of {own['mutual information']:.3f} by mutual information and {own[best]:.3f} "
        f"by {best}, the best of the scores; without dropout the best has {plain:.3f}.{gain}"
    ]


def _unlabelled(found: ClassFindings) -> str:
    rows = found.rows
    least = int(rows.confidence.argmin())
    flips = int(rows.flipped.sum())
    return (
        f"The truth about {counted(len(rows.probs), 'example', 'examples')} is not known, so this says how sure the "
        f"network is, not whether it is right. Its mean confidence is {rows.confidence.mean():.3f}; it is least sure "
        f"of {quoted(rows.names[least])}, which it calls {quoted(rows.class_names[rows.predicted[least]])} with a "
        f"confidence of {rows.confidence[least]:.3f}. Dropout changes {flips or 'no'} predicted "
        f"{'class' if flips == 1 else 'classes' if flips else 'class'}."
    )


def _conformal(found: ClassFindings) -> list[str]:
    numbers = found.conformal
    if not numbers:
        return []
    held = f"hold it in {numbers['coverage']:.1%}" if "coverage" in numbers else "cannot be checked without labels"
    return [
        f"The conformal sets, made to hold the truth in {1 - numbers['alpha']:.0%} of all cases, {held}, with "
        f"{numbers['mean_size']:.2f} classes on average."
    ]
