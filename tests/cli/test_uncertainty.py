import io

import pytest
from rich.console import Console

from jaxvision.cli import main
from jaxvision.cli.progress import Passes
from jaxvision.cli.uncertainty import summary

CLASSES = {"accuracy": 0.9, "nll": 0.3, "brier": 0.2, "ece": 0.01, "aurc": 0.02, "augrc": 0.02}
NUMBERS = {"nll": 1.25, "rmse": 2.5, "crps": 0.5, "picp": 0.94, "mpiw": 7.0, "ause": 0.1}


def result(mean, low, high, kind="classification", **more):
    numbers = CLASSES if kind == "classification" else NUMBERS
    methods = {"simple": numbers, "MC dropout, calibrated": {**numbers, "nll": numbers["nll"] + mean}}
    gap = {"other": "simple", "mean": mean, "low": low, "high": high}
    found = {"kind": kind, "rows": 50, "methods": methods, "nll_difference": gap}
    candidates = [
        {"name": "simple", "baseline": True, "rate": None, "test_nll": 1.0},
        {"name": "its own", "baseline": True, "rate": None, "test_nll": 0.125},
        {"name": "MC dropout", "baseline": True, "rate": 0.1, "test_nll": 0.5},
    ]
    found |= {"out_of_distribution": None, "conformal": None, **more}
    return {"result": found, "calibration": {"candidates": candidates}}


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        ((-0.1, -0.15, -0.05), "better than the simple: NLL -0.1000 nats, 95 % interval -0.1500 to -0.0500."),
        ((0.1, 0.05, 0.15), "MC dropout is worse than the simple: NLL +0.1000 nats"),
        ((-0.1, -0.3, 0.1), "MC dropout is no better than the simple, as far as 50 rows tell: NLL -0.1000 nats"),
        ((-1e-6, -2e-6, -1e-7), "MC dropout is no better than the simple"),
        ((-0.1, None, None), "Whether MC dropout is better than the simple, 50 rows are too few to tell."),
    ],
)  # fmt: skip
def test_it_is_plainly_said_whether_dropout_is_better(gap, verdict):
    assert verdict in summary(result(*gap))


def test_the_methods_stand_side_by_side():
    strangers = {"name": "noise", "rows": 9, "scores": {"mutual information": {"auroc": 0.75, "aupr": 1, "fpr95": 0}}}
    sets = {"alpha": 0.1, "mean_size": 1.5, "empty": 0.0, "coverage": 0.925}
    said = summary(result(-0.1, -0.2, -0.1, out_of_distribution=strangers, conformal=sets))
    table, *rest = said.split("\nMC dropout is")
    assert table.splitlines()[0].split() == ["method", "accuracy", "NLL", "Brier", "ECE", "AURC"]
    numbers = ["0.9000", "0.2000", "0.2000", "0.0100", "0.0200"]
    assert table.splitlines()[2].split() == ["its", "own", "-", "0.1250", "-", "-", "-"]
    assert [line.split()[0] for line in table.splitlines()[3:]] == ["simple", "MC"]
    assert table.splitlines()[-1].split() == ["MC", "dropout,", "calibrated", *numbers]
    assert "noise told apart, AUROC: mutual information 0.750." in rest[0]
    assert "hold the truth in 92.5% of the cases, and are 1.50 classes on average" in rest[0]
    intervals = {"alpha": 0.1, "mean_width": 3.25, "coverage": 0.9}
    numbers = summary(result(0.5, 0.4, 0.6, "regression", conformal=intervals))
    assert "RMSE" in numbers
    assert "Conformal intervals hold the truth in 90.0% of the cases, and are 3.25 wide" in numbers


def test_a_bar_shows_each_pass_over_the_data():
    stream = io.StringIO()
    with Passes(Console(file=stream, force_terminal=True, width=100)) as bar:
        bar.line("[3] sites")
        for step in range(1, 5):
            bar.step("tuning", step, 4)
        bar.step("test", 1, 2)
        bar._bar.refresh()
    text = stream.getvalue()
    assert "[3] sites" in text
    assert "1/2" in text


def test_help_names_the_sites(capsys):
    with pytest.raises(SystemExit):
        main(["uncertainty", "--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("RUN_OR_MODEL", "all-blocks", "--val-split", "--ood", "--alpha"))
