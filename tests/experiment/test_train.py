"""From a folder of pictures to a report, as a new user would."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

import jaxvision
from jaxvision.cli import main
from jaxvision.data.dataset import ArrayDataset
from jaxvision.experiment.network import preprocess_of
from jaxvision.experiment.train import run_training
from jaxvision.experiment.trained import settings_of
from jaxvision.training.config import TrainConfig, read_config, replaced
from tests.experiment.conftest import TINY, write_digits

ROOT = Path(__file__).parents[2]


def settings(folder, **changes) -> TrainConfig:
    base = {
        "model": "vit_tiny_patch16_224",
        "model_options": {"embed_dim": "32", "depth": "1", "num_heads": "2", "patch_size": "4"},
        "img_size": (16,),
        "in_chans": 1,
        "crop_pct": 1.0,
        "epochs": 2,
        "batch_size": 32,
        "opt": "adamw",
        "lr": 0.003,
        "warmup_epochs": 0.0,
        "no_aug": True,
        "workers": 1,
    }
    return replaced(TrainConfig(), {**base, "data": str(folder), **changes})


def test_a_folder_of_pictures_becomes_a_report(run, digits):
    names = {path.name for path in run.iterdir()}
    assert {"args.yaml", "metrics.jsonl", "summary.csv", "model.safetensors", "model.json", "report.html"} <= names
    assert {"metrics.json", "predictions.csv", "confusion_matrix.csv", "confusion_matrix.png", "curves.png"} <= names
    with (run / "summary.csv").open() as file:
        epochs = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in epochs] == list(range(20))
    assert float(epochs[-1]["val_accuracy"]) > 0.85 > float(epochs[0]["train_accuracy"])
    assert float(epochs[-1]["train_loss"]) < float(epochs[0]["train_loss"])
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36, "a fifth of 180 pictures validates"
    assert json.loads((run / "model.json").read_text())["class_names"] == ["digit_0", "digit_1", "digit_2"]


def test_the_exported_weights_classify_in_research_code(run, digits):
    weights = load_file(run / "model.safetensors")
    options = {"embed_dim": 32, "depth": 1, "num_heads": 2, "patch_size": 4, "img_size": 16, "in_chans": 1}
    model = jaxvision.create_model("vit_tiny_patch16_224", str(run / "model.safetensors"), num_classes=3, **options)
    np.testing.assert_array_equal(model.head.kernel[...], weights["head.kernel"])
    info = jaxvision.model_info("vit_tiny_patch16_224")
    from dataclasses import replace

    preprocess = replace(info.preprocess(16, 1), crop_pct=1.0)
    files = sorted(digits.glob("*/*.png"))
    predicted = np.argmax(model(preprocess.batch(files)), axis=1)
    truth = np.array([int(path.parent.name[-1]) for path in files])
    assert np.mean(predicted == truth) > 0.85


def test_evaluate_gives_the_numbers_of_the_runs_own_report(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--output", str(tmp_path / "one")]) == 0
    assert "36 pictures" in capsys.readouterr().out
    ours, its = (json.loads((folder / "metrics.json").read_text())["result"] for folder in (tmp_path / "one", run))
    assert ours["confusion_matrix"] == its["confusion_matrix"]
    assert ours["log_loss"] == pytest.approx(its["log_loss"], rel=1e-5)


def test_an_ensemble_and_mirrored_views_are_averaged(run, digits, tmp_path):
    other = tmp_path / "other"
    assert main(["train", str(digits), *TINY, "--no-aug", "--seed", "7", "--output", str(other)]) == 0
    for name, words in {
        "first": [str(run)],
        "second": [str(other)],
        "both": [str(run), str(other)],
        "mirrored": [str(run), "--tta", "hflip"],
    }.items():
        assert main(["evaluate", *words, "--split", "val", "--output", str(tmp_path / name)]) == 0

    def probabilities(name):
        with (tmp_path / name / "predictions.csv").open() as file:
            rows = list(csv.DictReader(file))
        columns = [column for column in rows[0] if "digit_" in column]
        return np.array([[float(row[column]) for column in columns] for row in rows])

    np.testing.assert_allclose(probabilities("both"), (probabilities("first") + probabilities("second")) / 2, atol=2e-4)
    assert not np.allclose(probabilities("mirrored"), probabilities("first"), atol=1e-2)


def test_other_data_are_evaluated_whole_and_by_the_runs_classes(run, tmp_path, capsys):
    """Pictures of one class only, which by themselves would be class 0."""
    folder = write_digits(tmp_path / "new", (2,), (20,))
    assert main(["evaluate", str(run), "--data", str(folder), "--output", str(tmp_path / "report")]) == 0
    assert "20 pictures" in capsys.readouterr().out
    result = json.loads((tmp_path / "report" / "metrics.json").read_text())["result"]
    assert result["accuracy"] > 0.8
    assert np.sum(result["confusion_matrix"], axis=1).tolist() == [0, 0, 20]
    other = write_digits(tmp_path / "other", (2, 7), (5, 5))
    assert main(["evaluate", str(run), "--data", str(other), "--output", str(tmp_path / "never")]) == 2
    assert "digit_7" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "vit_base_patch16_224.augreg_in21k_ft_in1k"])
def test_published_weights_are_evaluated_at_their_test_size(name):
    """The second has none: it stays at its size."""
    info = jaxvision.model_info(name)
    assert preprocess_of(settings_of(name).network) == info.preprocess()
    network = settings_of(name, use_test_size=True).network
    assert preprocess_of(network) == info.preprocess(use_test_size=True)
    height, width = info.preprocess(use_test_size=True).size
    model = nnx.eval_shape(lambda: jaxvision.create_model(name, img_size=network.img_size))
    logits = nnx.eval_shape(lambda m, x: m(x), model, jax.ShapeDtypeStruct((1, height, width, 3), "float32"))
    assert logits.shape == (1, 1000)


def test_mistakes_on_the_command_line_are_named_with_their_remedy(run, digits, tmp_path, capsys):
    def complaint(*words):
        code = main([*words])
        return code, capsys.readouterr().err

    mixed = tmp_path / "mixed"
    write_digits(mixed, (0, 1), (3, 3))
    (mixed / "digit_0" / "000.png").rename(mixed / "loose.png")
    one = write_digits(tmp_path / "one", (0,), (40,))
    empty = write_digits(tmp_path / "empty", (0, 1), (40, 40))
    (empty / "digit_5").mkdir()
    cases = [
        (("train", str(digits), *TINY, "--num-classes", "5"), "--num-classes is 5, but the data have 3"),
        (("train", str(mixed), *TINY), "loose.png"),
        (("train", str(one), *TINY), "digit_0"),
        (("train", str(empty), *TINY), "digit_5"),
        (("train", str(tmp_path / "nowhere"), *TINY), "no such folder or file"),
        (("train", str(digits), *TINY, "--output", str(run)), "--resume auto"),
        (("train", str(digits), *TINY, "--output", str(run), "--resume", "auto"), "--epochs was 20 and is 2"),
        (("train", str(digits), *TINY, "--task", "binary"), "binary"),
        (("train", str(digits), *TINY, "--task", "regression"), "are multiclass, not regression"),
        (("train", str(digits), *TINY, "--freeze", "block.*"), "blocks"),
        (("train", str(digits), *TINY, "--opt", "adamww"), "adamw"),
        (("train", str(digits), *TINY, "--batch-size", "500"), "less than one batch of 500"),
        (("train", str(digits), *TINY, "--cache-features"), "--freeze-backbone"),
        (("train", str(digits), *TINY, "--recipe", "covid"), "covid_ct"),
        (("train", *TINY), "name the data"),
        (("evaluate", str(digits)), "not the folder of a run"),
        (("evaluate", "resnet_50"), "resnet50"),
        (("evaluate", "tf_efficientnet_lite0.in1k"), "has no data of its own"),
        (("evaluate", "tf_efficientnet_lite0.in1k", "--data", str(digits)), "tells 1000 classes, but the data have 3"),
        (("evaluate", str(run), "--checkpoint", "7"), "there are best, last"),
        (("evaluate", str(run), "--use-test-size"), "goes with a published model's name"),
    ]
    for words, fragment in cases:
        output = () if words[0] == "evaluate" or "--output" in words else ("--output", str(tmp_path / "never"))
        code, text = complaint(*words, *output)
        assert code == 2, (words, text)
        assert fragment in text, (words, text)
        assert len(text.strip().splitlines()) < 12


def test_an_unreadable_picture_is_replaced_and_reported(digits, tmp_path, caplog):
    folder = write_digits(tmp_path / "photos", (0, 1), (40, 40))
    for path in sorted(folder.glob("*/*.png"))[:3]:
        path.write_bytes(path.read_bytes()[:60])
    result = run_training(settings(folder, output=str(tmp_path / "run")), lambda line: None)
    assert result.report is not None
    assert "unreadable picture" in caplog.text
    assert "could not be read" in result.report.read_text() or "left out" in result.report.read_text()


def test_a_file_of_settings_starts_the_same_run_again(run, tmp_path):
    again = tmp_path / "again"
    assert main(["train", "--config", str(run / "args.yaml"), "--output", str(again)]) == 0
    first, second = (load_file(folder / "model.safetensors") for folder in (run, again))
    assert all(np.array_equal(first[name], second[name]) for name in first), "the same seed gives the same bits"
    assert read_config(again / "args.yaml", TrainConfig()).optim.epochs == 20


def test_a_frozen_backbone_with_cached_features_gives_what_it_gives_without(digits, tmp_path):
    """Same head, same order, no augmentation: caching is a matter of speed only."""
    base = {"freeze_backbone": True, "epochs": 2, "head": "mlp", "head_hidden": (8,), "head_batch_norm": (True,)}
    runs = {}
    for cached in (False, True):
        folder = tmp_path / str(cached)
        config = settings(digits, **base, head_drop=0.0, cache_features=cached, output=str(folder))
        run_training(config, lambda line: None)
        runs[cached] = load_file(folder / "model.safetensors")
    for name, value in runs[False].items():
        np.testing.assert_allclose(runs[True][name], value, atol=2e-4, err_msg=name)
    fresh = jaxvision.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=16, in_chans=1, embed_dim=32, depth=1, num_heads=2,
        patch_size=4, seed=42,
    )  # fmt: skip
    np.testing.assert_array_equal(runs[True]["blocks.0.attn.qkv.kernel"], fresh.blocks[0].attn.qkv.kernel[...])


def test_remedies_for_imbalance_move_the_recalls_as_they_should(tmp_path, capsys):
    folder = write_digits(tmp_path / "photos", (3, 8), (24, 150))
    words = ["train", str(folder), *TINY, "--no-aug", "--task", "binary", "--epochs", "15", "--batch-size", "16"]
    words += ["--freeze-backbone", "--cache-features", "--lr", "0.05", "--eval-metric", "balanced_accuracy"]
    words += ["--compare-imbalance", "--output", str(tmp_path / "runs"), "--val-fraction", "0.3"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(choice in text for choice in ("nothing", "oversampling", "undersampling", "class weights", "focal loss"))
    with (tmp_path / "runs" / "comparison.csv").open() as file:
        rows = {row["choice"]: row for row in csv.DictReader(file)}
    assert "class weights" in (tmp_path / "runs" / "report.html").read_text()
    rare = {choice: float(row["recall digit_3"]) for choice, row in rows.items()}
    assert rare["nothing"] < min(rare["oversampling"], rare["undersampling"], rare["class weights"])


def test_the_covid_ct_recipe_runs_on_any_folder_of_two_classes(tmp_path):
    """With a small ResNet for the large one: the recipe's own needs weights from a hub. It ends in uncertainty."""
    from jaxvision.training.recipes import recipe

    folder = write_digits(tmp_path / "ct", (0, 1), (40, 60))
    config = replaced(
        recipe("covid_ct"),
        {
            "data": str(folder),
            "output": str(tmp_path / "run"),
            "model": "resnet50",
            "model_options": {"layers": "[1, 1, 1, 1]", "channels": "[8, 8, 16, 16]"},
            "img_size": (32,),
            "pretrained": False,
            "epochs": 2,
            "no_aug": True,
            "rotation": 0.0,
            "cache_features": True,
            "validation_batch_size": 5,
        },
    )
    result = run_training(config, lambda line: None)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    shapes = {name: value.shape for name, value in weights.items() if name.startswith("fc.")}
    assert shapes == {
        "fc.hidden.0.linear.kernel": (64, 256),
        "fc.hidden.0.linear.bias": (256,),
        "fc.hidden.0.norm.scale": (256,),
        "fc.hidden.0.norm.bias": (256,),
        "fc.hidden.0.norm.mean": (256,),
        "fc.hidden.0.norm.var": (256,),
        "fc.hidden.1.linear.kernel": (256, 128),
        "fc.hidden.1.linear.bias": (128,),
        "fc.out.kernel": (128, 1),
        "fc.out.bias": (1,),
    }
    assert result.result.confusion_matrix.shape == (2, 2)
    assert "threshold" in result.report.read_text().lower()
    assert "uncertainty/report.html" in result.report.read_text()
    assert (tmp_path / "run" / "uncertainty" / "report.html").exists()
    sure = result.uncertainty
    assert [site.path for site in sure.calibration.net.plan.sites] == ["fc.hidden.0.drop", "fc.hidden.1.drop"]
    assert sure.calibration.num_samples == 100
    assert sure.findings["task"] == "binary"
    assert sure.findings["result"]["rows"] == 10, "a half of the twenty pictures that validate"
    plain = sure.findings["result"]["methods"]["deterministic softmax"]
    index = [result.assessed.dataset.names.index(name) for name in sure_names(tmp_path / "run" / "uncertainty")]
    wrong = result.assessed.probabilities.argmax(1)[index] != result.assessed.labels[index]
    assert plain["accuracy"] == pytest.approx(1 - wrong.mean()), "of the best checkpoint"


def sure_names(folder):
    with (folder / "uncertainty.csv").open() as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_what_cannot_be_asked_at_the_end_is_refused_before_the_training(digits, tmp_path):
    lines = []
    cases = {
        "did you mean 'blocks": {"uncertainty": ["blocs.*"]},
        "no validation data": {"uncertainty": ["head"], "val_fraction": 0.0},
    }
    for fragment, changes in cases.items():
        with pytest.raises(ValueError, match=fragment):
            run_training(settings(digits, output=str(tmp_path / fragment[:3]), **changes), lines.append)
    assert not any(line.startswith("epoch") for line in lines)


def test_the_step_compiles_once(digits, tmp_path):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **kwargs: compiled.append(name) if "backend_compile" in name else None
    )
    counts = []
    run_training(
        settings(digits, epochs=4, output=str(tmp_path / "run")),
        lambda line: counts.append(len(compiled)) if line.startswith("epoch") else None,
    )
    jax.monitoring.clear_event_listeners()
    assert len(counts) == 4
    assert counts[0] > 0
    assert counts[1:3] == [counts[1]] * 2, "nothing compiles after the first epochs"


def test_numbers_can_be_learnt_with_their_variance(tmp_path):
    rng = np.random.default_rng(0)
    brightness = rng.uniform(0, 1, 160)
    images = (brightness[:, None, None] * 255 * np.ones((1, 16, 16))).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=brightness.astype(np.float32))
    config = settings(
        tmp_path / "data.npz", task="heteroscedastic", epochs=15, lr=0.01, output=str(tmp_path / "run"), mean=(0.5,),
        std=(0.25,),
    )  # fmt: skip
    result = run_training(config, lambda line: None)
    assert result.result.rmse < 0.15
    assert result.result.nll is not None
    assert ArrayDataset(images[:2], brightness[:2], ()).class_names == ()


def test_two_processes_train_as_one_does(digits, tmp_path):
    """From the command line, over the loopback, each with half of every batch."""
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "jaxvision", "train", str(digits), *TINY, "--seed", "3"]
    words += ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--output", str(tmp_path / "two")]
    processes = [
        subprocess.Popen([*words, "--process-id", str(i)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    texts = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "2 cpu device(s) by jit" in texts[0]
    assert "report:" in texts[0]
    assert "epoch" not in texts[1], "one process speaks for all"
    assert main(["train", str(digits), *TINY, "--seed", "3", "--output", str(tmp_path / "one")]) == 0
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-4, err_msg=name)


def test_a_bar_shows_where_the_run_is(digits, tmp_path):
    import io

    from rich.console import Console

    from jaxvision.cli.progress import Bar

    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    config = settings(digits, output=str(tmp_path / "run"), profile_steps="2:3")
    with Bar(console) as bar:
        run_training(config, bar.line, bar.step)
    text = console.file.getvalue()
    assert "images/s" in text
    assert "8/8" in text
    assert "epoch 2/2  train loss" in text
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb")), "--profile-steps left a trace"
