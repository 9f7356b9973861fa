"""A run that is stopped, or killed, and gone on with ends in the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxvision.cli import main
from jaxvision.training.config import replaced
from jaxvision.training.loop import DivergedError
from jaxvision.training.signals import StopSignals
from tests.experiment.conftest import TINY
from tests.experiment.test_train import run_training, settings

ROOT = Path(__file__).parents[2]

# Everything that could go wrong in a resume: dropout, BatchNorm, moving averages, accumulation, oversampling,
# augmentation, mixing, momentum, and checkpoints in the middle of an epoch.
HARD = {
    "model": "resnet18",
    "model_options": {"layers": "[1, 1, 1, 1]", "channels": "[8, 8, 16, 16]"},
    "drop": 0.2,
    "drop_path": 0.1,
    "epochs": 3,
    "batch_size": 16,
    "grad_accum_steps": 2,
    "opt": "sgd",
    "lr": 0.05,
    "no_aug": False,
    "aa": "rand-m5-n1",
    "reprob": 0.2,
    "mixup": 0.2,
    "cutmix": 0.5,
    "model_ema": True,
    "model_ema_decay": 0.9,
    "sampling": "oversample",
    "checkpoint_interval": 1,
    "log_interval": 1,
    "workers": 2,
}


@pytest.fixture(scope="module")
def uninterrupted(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_training(settings(digits, **HARD, output=str(folder)), lambda line: None)
    return folder


def assert_same(one: Path, other: Path):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    different = [name for name in first if not np.array_equal(first[name], second[name])]
    assert not different
    rows = []
    for folder in (one, other):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        times = ("seconds", "val_seconds", "images_per_second")
        rows.append([{k: v for k, v in line.items() if k not in times} for line in lines])
    assert rows[0] == rows[1]


def test_sigterm_saves_and_leaves_and_the_run_can_go_on(digits, uninterrupted, tmp_path):
    config = settings(digits, **HARD, output=str(tmp_path / "run"), resume="auto")

    def interrupt(line):
        if line.startswith("epoch 1 [2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    result = run_training(config, interrupt)
    assert result.stopped == "SIGTERM"
    assert result.report is None
    lines = []
    assert run_training(config, lines.append).stopped == "finished"
    assert any(line.startswith("resumed at step 6: epoch 1, 2 of 4") for line in lines), lines
    assert_same(uninterrupted, tmp_path / "run")


def test_ctrl_c_saves_and_says_how_to_go_on(digits, tmp_path, capsys, monkeypatch):
    from jaxvision.cli import train

    say = train.say

    def interrupt(line):
        say(line)
        if line.startswith("epoch 1/"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "say", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert main(["train", str(digits), *TINY, "--epochs", "50", "--output", str(tmp_path / "run")]) == 130
        assert "--resume auto" in capsys.readouterr().out
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received is None, "what was told to ignore Ctrl-C goes on doing so"
    finally:
        signal.signal(signal.SIGINT, before)


def test_kill_9_at_several_moments_changes_nothing(digits, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    from jaxvision.training.config import write_config

    write_config(tmp_path / "settings.yaml", settings(digits, **HARD, output=str(folder), resume="auto"))
    command = [sys.executable, "-m", "jaxvision", "train", "--config", str(tmp_path / "settings.yaml")]
    command += ["--compile-cache", str(tmp_path / "cache")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}

    def saved() -> int:
        found = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdecimal()]
        return max(found, default=0)

    moments = [
        lambda: saved() >= 2,  # in the middle of the first epoch
        lambda: saved() >= 5 and list((folder / "checkpoints").glob("*orbax-checkpoint-tmp*")),  # while saving
        lambda: saved() >= 11,
    ]
    for moment in moments:
        before = saved()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while not (moment() and saved() >= before) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run must not be over before it is killed"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "resumed at step" in done.stdout
    assert_same(uninterrupted, folder)


def test_a_loss_that_is_not_finite_stops_with_a_checkpoint_and_a_diagnosis(digits, tmp_path, capsys):
    config = settings(digits, opt="sgd", lr=1e30, epochs=3, output=str(tmp_path / "run"), log_interval=1)
    with pytest.raises(
        DivergedError, match=r"the (loss|gradient) of step \d+ is not finite.*Try a lower --lr"
    ) as raised:
        run_training(config, lambda line: None)
    assert str(tmp_path / "run" / "checkpoints") in str(raised.value)
    steps = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdecimal()]
    assert steps
    from jaxvision.training.checkpoint import read_arrays

    saved = read_arrays(tmp_path / "run" / "checkpoints", "params.**")
    assert saved
    assert all(np.isfinite(value).all() for value in saved.values()), "the state saved is the last good one"


def test_a_few_steps_that_are_not_finite_can_be_skipped(digits, tmp_path, caplog):
    config = settings(digits, opt="sgd", lr=1e30, nan_limit=1000, epochs=2, output=str(tmp_path / "run"))
    with pytest.raises(
        ValueError, match="finite"
    ):  # every later step is skipped, so that the report has nothing to say
        run_training(config, lambda line: None)
    assert "was skipped: its" in caplog.text


def test_early_stopping_and_plateau_count_on_over_a_resume(digits, tmp_path):
    config = settings(
        digits, lr=1e-9, sched="plateau", patience_epochs=0, early_stopping=3, epochs=20, eval_metric="accuracy",
        output=str(tmp_path / "run"), resume="auto",
    )  # fmt: skip
    seen = []

    def interrupt(line):
        seen.append(line)
        if line.startswith("epoch 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    assert run_training(config, interrupt).stopped == "SIGTERM"
    assert run_training(config, seen.append).stopped == "early"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [row["lr"] for row in rows if row["kind"] == "epoch"]
    assert len(rates) == 4, "the first epoch is the best, three more bring nothing"
    np.testing.assert_allclose(rates, [1e-9, 1e-9, 1e-10, 1e-11], rtol=1e-4)


def test_cached_features_are_those_of_the_trained_backbone_after_a_resume_too(digits, run, tmp_path):
    start = {"initial_checkpoint": str(run / "model.safetensors"), "freeze_backbone": True, "cache_features": True}
    config = settings(digits, **start, epochs=4, seed=5, output=str(tmp_path / "one"))
    run_training(config, lambda line: None)
    other = replaced(config, {"output": str(tmp_path / "other"), "resume": "auto"})

    def interrupt(line):
        if line.startswith("epoch 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    assert run_training(other, interrupt).stopped == "SIGTERM"
    assert run_training(other, lambda line: None).stopped == "finished"
    assert_same(tmp_path / "one", tmp_path / "other")


def test_resuming_with_other_data_is_refused(digits, run, tmp_path, capsys):
    import shutil

    from tests.experiment.conftest import write_digits

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    other = write_digits(tmp_path / "photos", (0, 1, 2), (50, 50, 50))
    words = ["train", "--config", str(folder / "args.yaml"), "--output", str(folder), "--resume", "auto"]
    assert main([*words, str(other)]) == 2
    assert "was" in capsys.readouterr().err
    assert main([*words, str(other), "--allow-changes"]) == 2
    assert "another stream of data" in capsys.readouterr().err
