import json

import numpy as np
import pytest

from jaxvision.evaluation.history import HistoryError, read_history


def write(path, *records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def epoch(number, **values):
    return {"kind": "epoch", "epoch": number, **values}


def test_columns_and_other_kinds(tmp_path):
    path = write(
        tmp_path / "metrics.jsonl",
        {"kind": "step", "step": 3, "loss": 9.0},
        epoch(1, train_loss=2.0, lr=0.1, note="first"),
        epoch(2, train_loss=1.0, lr=0.05, val_loss=1.5),
        epoch(3, train_loss=float("nan"), lr=0.0, val_loss=1.7, val_accuracy=None),
    )
    history = read_history(path)
    assert history.epochs.tolist() == [1, 2, 3]
    assert history.curve("val_loss")[0].tolist() == [2, 3]
    assert history.curve("train_loss")[1].tolist() == [2.0, 1.0]
    assert history.curve("val_accuracy")[1].size == history.curve("absent")[1].size == 0
    assert history.best("val_loss", "min") == (2, 1.5)
    assert history.best("val_accuracy") is None
    assert set(history.columns) == {"train_loss", "lr", "val_loss"}


def test_killed_and_resumed(tmp_path):
    path = write(tmp_path / "m", epoch(1, a=1.0), epoch(2, a=5.0), tail='{"kind": "epoch", "epo\n')
    with path.open("a") as file:
        file.write(json.dumps(epoch(2, a=2.0)) + "\n" + '{"kind": "epoch", "epoch": 3, "a": 3')
    history = read_history(path)
    assert history.skipped == (3, 5)
    np.testing.assert_array_equal(history.columns["a"], [1.0, 2.0])


def test_empty_and_broken(tmp_path):
    assert read_history(write(tmp_path / "empty")).epochs.size == 0
    with pytest.raises(HistoryError, match=r"cannot read '.*absent': No such file"):
        read_history(tmp_path / "absent")
    with pytest.raises(HistoryError, match="line 1: an epoch needs a whole number, got None"):
        read_history(write(tmp_path / "m", {"kind": "epoch"}))
