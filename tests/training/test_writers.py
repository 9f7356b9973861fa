import csv
import json

import pytest

from jaxvision.training.writers import FileWriter, TensorBoardWriter, WandbWriter

ROWS = [
    {"kind": "train", "epoch": 0, "step": 1, "loss": 3.0},
    {"kind": "epoch", "epoch": 0, "step": 2, "train_loss": 2.5, "val_accuracy": 0.5},
    {"kind": "train", "epoch": 1, "step": 3, "loss": 2.0},
    {"kind": "epoch", "epoch": 1, "step": 4, "train_loss": 1.5, "val_accuracy": 0.7, "val_auroc": 0.9},
]


def write(folder, rows, start=0):
    writer = FileWriter(folder, start)
    for row in rows:
        writer.write(row)
    writer.close()


def test_every_row_is_a_line_and_every_epoch_a_row_of_the_table(tmp_path):
    write(tmp_path, ROWS)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == ROWS
    with (tmp_path / "summary.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["val_accuracy"] for row in table] == ["0.5", "0.7"]
    assert [row["val_auroc"] for row in table] == ["", "0.9"]


def test_going_on_takes_away_what_came_after_the_checkpoint(tmp_path):
    write(tmp_path, ROWS)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 5, "lo')  # cut off by kill -9
    write(tmp_path, ROWS[2:], start=2)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == ROWS
    with (tmp_path / "summary.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_tensorboard_gets_a_scalar_for_each_number(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    for row in ROWS:
        writer.write(row)
    writer.close()
    (file,) = tmp_path.glob("events.out.tfevents.*")
    content = file.read_bytes()
    assert all(name in content for name in (b"train/loss", b"epoch/val_accuracy", b"epoch/val_auroc"))


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxvision-zoo\[wandb\]'"):
        WandbWriter("project", "run", {})
