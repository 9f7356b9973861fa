"""A regression's findings in a few numbers and sentences, for a reader who has to decide what to do."""

from jaxvision.evaluation.html import quoted
from jaxvision.evaluation.page import counted
from jaxvision.evaluation.summary import Headline
from jaxvision.uncertainty.report.class_findings import KEPT
from jaxvision.uncertainty.report.number_findings import HINDSIGHT, LEVEL, NumberFindings

_REFERRED = KEPT.index(0.8)


def number_headlines(found: NumberFindings) -> list[Headline]:
    """The numbers to see first."""
    rows = found.rows
    lines = []
    if found.measured:
        own = found.measured[found.main]
        lines += [
            Headline("RMSE", f"{own['rmse']:.4g}", "root of the mean squared error"),
            Headline(
                "NLL", f"{own['nll']:.3f}", f"{found.measured[_rival(found)]['nll']:.3f} with a constant variance"
            ),
            Headline(f"In {LEVEL:.0%} intervals", f"{own['picp']:.1%}", "of the true values"),
            Headline("Surest 80 %", f"{found.kept['least certain removed'][_REFERRED]:.4g}", _relative(found)),
        ]
        if found.correlation is not None:
            lines.append(Headline("Rank correlation", f"{found.correlation:.2f}", "of error and standard deviation"))
    else:
        lines.append(Headline("Standard deviation", f"{rows.std.mean():.4g}", "mean"))
    if found.outside is not None:
        auroc = found.detection["standard deviation"]["auroc"]
        lines.append(Headline("Finds strangers", f"{auroc:.3f}", "AUROC of the standard deviation"))
    elif found.measured:
        area = found.measured[found.main]["miscalibration_area"]
        lines.append(Headline("Miscalibration", f"{area:.3f}", "area, 0 is ideal"))
    return lines


def number_summary(found: NumberFindings) -> list[str]:
    """Paragraphs."""
    if not found.measured:
        rows = found.rows
        least = int(found.rows.scores()["standard deviation"].argmax())
        words = [
            f"The truth about {counted(len(rows.mean), 'example', 'examples')} is not known, so this says how sure the "
            f"network is, not how far it is off. It is least sure of {quoted(rows.names[least])}. "
            + " ".join(_outside(found))
        ]
    else:
        words = [f"{_off(found)} {_calibrated(found)}", " ".join([_referral(found), *_parts(found), *_outside(found)])]
    return [paragraph.strip() for paragraph in words] + _conformal(found)


def _rival(found: NumberFindings) -> str:
    assert found.difference is not None
    return found.difference.other


def _relative(found: NumberFindings) -> str:
    return "RMSE of these" if len(found.rows.target_names) == 1 else "RMSE of these, in spreads of the targets"


def _off(found: NumberFindings) -> str:
    own, rows = found.measured[found.main], found.rows
    kind = "number" if len(rows.target_names) > 1 else "prediction"
    return (
        f"On {counted(len(rows.mean), 'example', 'examples')} a {kind} is off by {own['rmse']:.4g} (root of the mean "
        f"squared error). Of the true values {own['picp']:.1%} lie in the intervals that should hold {LEVEL:.0%}, "
        f"whose mean width is {own['mpiw']:.4g}."
    )


def _calibrated(found: NumberFindings) -> str:
    own, gap = found.measured[found.main], found.difference
    assert gap is not None
    other = found.measured[gap.other]
    numbers = f"NLL {own['nll']:.4g} against {other['nll']:.4g}, {gap}"
    rival = "a single variance for all examples, which needs no passes"
    if gap.other == HINDSIGHT:
        rival = "a single variance for all examples, the best in hindsight"
    return {
        -1: f"The variances are better than {rival}: {numbers}.",
        0: f"Whether the variances are better than {rival}, these examples cannot tell: {numbers}.",
        1: f"The variances are not better but worse than {rival}: {numbers}. Take the single one.",
    }[gap.verdict]


def _referral(found: NumberFindings) -> str:
    own, best = found.kept["least certain removed"], found.kept["largest errors removed"]
    change = "falls" if own[_REFERRED] < own[0] else "does not fall: it goes"
    unit = "" if len(found.rows.target_names) == 1 else ", in units of the targets' spread,"
    said = (
        f"If the 20 % with the largest standard deviations are sent to a person, the error of the rest{unit} {change} "
        f"from {own[0]:.4g} to {own[_REFERRED]:.4g}; removing those with the largest errors would give "
        f"{best[_REFERRED]:.4g}."
    )
    if found.correlation is None:
        return said
    strength = abs(found.correlation)
    word = "hardly" if strength < 0.1 else "weakly" if strength < 0.3 else "clearly"
    return f"{said} Error and standard deviation are {word} related (rank correlation {found.correlation:.2f})."


def _parts(found: NumberFindings) -> list[str]:
    rows = found.rows
    if rows.aleatoric is None:
        return []
    share = float((rows.epistemic / rows.units**2).mean() / (rows.variance / rows.units**2).mean())
    return [f"Of the predicted variance {share:.0%} comes from the passes; the rest is noise that they agree on."]


def _outside(found: NumberFindings) -> list[str]:
    if found.outside is None:
        return []
    name, rows = found.outside
    scores = " and ".join(f"{numbers['auroc']:.3f} by {score}" for score, numbers in found.detection.items())
    return [
        f"{counted(len(rows.mean), 'example', 'examples')} of {quoted(name)}, which the network should not know, are "
        f"told from these with an AUROC of {scores}."
    ]


def _conformal(found: NumberFindings) -> list[str]:
    numbers = found.conformal
    if not numbers:
        return []
    held = f"hold {numbers['coverage']:.1%}" if "coverage" in numbers else "cannot be checked without labels"
    return [
        f"The conformal intervals, made to hold {1 - numbers['alpha']:.0%} of the true values, {held}; their mean "
        f"width is {numbers['mean_width']:.4g}."
    ]
