import dataclasses

import pytest

from jaxvision.models.family import Family
from jaxvision.registry import families
from jaxvision.training.config import (
    FREE_TO_CHANGE,
    GROUPS,
    ConfigError,
    TrainConfig,
    changed,
    flat,
    read_config,
    replaced,
    write_config,
)
from jaxvision.training.optim import OPTIMIZERS
from jaxvision.training.recipes import RECIPES, recipe
from jaxvision.training.schedules import SCHEDULES


def test_every_setting_has_a_name_of_its_own():
    names = [name for group in GROUPS for name in vars(getattr(TrainConfig(), group))]
    assert len(names) == len(set(names)) == len(flat(TrainConfig()))
    assert set(names) >= FREE_TO_CHANGE


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_exists_and_survives_a_file(name, tmp_path):
    config = recipe(name)
    architecture = config.network.model.partition(".")[0]
    assert isinstance(families()[architecture], Family)
    assert config.optim.opt in OPTIMIZERS
    assert config.optim.sched in SCHEDULES
    write_config(tmp_path / "args.yaml", config)
    assert read_config(tmp_path / "args.yaml", TrainConfig()) == config


def test_the_covid_ct_recipe_is_the_papers():
    config = recipe("covid_ct")
    network, optim = config.network, config.optim
    assert (network.model, network.pretrained, network.freeze_backbone) == ("resnet101", True, True)
    assert (network.head, network.head_hidden, network.head_batch_norm) == ("mlp", (256, 128), (True, False))
    assert (config.loss.task, optim.opt, optim.lr, optim.epochs) == ("binary", "adam", 1e-4, 40)


def test_files_take_timms_spelling_and_yamls_numbers(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "warmup-epochs: 3\nlr: 1e-4\nimg_size: [160, 192]\nfreeze: [conv1]\nclass_weights: [1, 2]\n"
        "model_options: {depth: 4}\nlr_rules: {head: 10}\noutput: runs/a\n"
    )
    config = read_config(file, TrainConfig())
    assert config.optim.warmup_epochs == 3.0
    assert config.optim.lr == 1e-4
    assert config.network.img_size == (160, 192)
    assert config.network.freeze == ("conv1",)
    assert config.loss.class_weights == (1.0, 2.0)
    assert config.network.model_options == {"depth": "4"}
    assert config.optim.lr_rules == {"head": 10.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leaning_rate: 0.1", "no setting 'leaning_rate'"),
        ("warmup_epoch: 1", "did you mean 'warmup_epochs'"),
        ("epochs: many", "epochs is 'many', expected"),
        ("epochs: 2.5", "epochs is 2.5"),
        ("pretrained: 1", "pretrained is 1"),
        ("sampling: balance", "sampling is 'balance'"),
        ("- a list", "holds list"),
        ("lr: [", "cannot read the settings"),
    ],
)
def test_a_wrong_file_is_told_line_by_line(text, message, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(file, TrainConfig())
    with pytest.raises(ConfigError, match="cannot read the settings"):
        read_config(tmp_path / "nowhere.yaml", TrainConfig())


def test_what_decides_the_result_is_told_from_what_does_not():
    old = flat(TrainConfig())
    assert changed(old, flat(replaced(TrainConfig(), {"workers": 9, "log_interval": 3, "driver": "pmap"}))) == []
    assert changed(old, flat(replaced(TrainConfig(), {"lr": 0.2, "seed": 1}))) == [
        "--lr was None and is 0.2",
        "--seed was 42 and is 1",
    ]
    assert dataclasses.is_dataclass(TrainConfig())
