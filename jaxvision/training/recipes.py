"""Published and proven settings, each a function that gives a `TrainConfig`. A new recipe is one more function here."""

from collections.abc import Callable
from typing import Any

from jaxvision.training.config import ConfigError, TrainConfig, replaced

RECIPES: dict[str, Callable[[], TrainConfig]] = {}


def recipe(name: str) -> TrainConfig:
    """The settings of a recipe.

    Raises:
        ConfigError: there is no such recipe; the nearest names are listed.
    """
    if name not in RECIPES:
        from jaxvision.paths import suggestion  # here, since it imports JAX, and `--help` must be quick

        raise ConfigError(f"unknown recipe {name!r}{suggestion(name, RECIPES)}; there are {', '.join(RECIPES)}")
    return RECIPES[name]()


def _recipe(function: Callable[[], TrainConfig]) -> Callable[[], TrainConfig]:
    RECIPES[function.__name__] = function
    return function


def _settings(**changes: Any) -> TrainConfig:
    return replaced(TrainConfig(), changes)


@_recipe
def vit_s16_in1k() -> TrainConfig:
    """ViT-S/16 on ImageNet-1k from scratch in 90 epochs (Beyer, Zhai and Kolesnikov 2022, arXiv:2205.01580).

    76.5 % top-1 as published: batch 1024, global average pooling, RandAugment of level 10, mixup 0.2, no dropout, 10000
    steps of warm-up. The paper's weight decay of 1e-4 is not multiplied by the learning rate; here it is, hence 0.1.
    """
    return _settings(
        model="vit_small_patch16_224",
        model_options={"global_pool": "avg"},
        batch_size=1024,
        epochs=90,
        opt="adamw",
        lr=1e-3,
        weight_decay=0.1,
        clip_grad=1.0,
        warmup_epochs=8.0,
        warmup_lr=0.0,
        aa="rand-m10-n2",
        mixup=0.2,
        color_jitter=0.0,
        scale=(0.05, 1.0),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


@_recipe
def swin_t_in1k() -> TrainConfig:
    """Swin-T on ImageNet-1k from scratch in 300 epochs (Liu et al. 2021, arXiv:2103.14030, appendix A2.1): 81.3 %."""
    return _settings(
        model="swin_tiny_patch4_window7_224",
        batch_size=1024,
        epochs=300,
        opt="adamw",
        lr=1e-3,
        weight_decay=0.05,
        clip_grad=5.0,
        warmup_epochs=20.0,
        warmup_lr=1e-6,
        min_lr=1e-5,
        drop_path=0.2,
        aa="rand-m9-mstd0.5-inc1",
        mixup=0.8,
        cutmix=1.0,
        smoothing=0.1,
        reprob=0.25,
    )


@_recipe
def efficientnet_b0_in1k() -> TrainConfig:
    """EfficientNet-B0 on ImageNet-1k from scratch (Tan and Le 2019, arXiv:1905.11946, as timm trained it): 77.7 %.

    RMSProp as TensorFlow has it, batch 768 (timm's command: two devices of 384), step decay, moving averages.
    """
    return _settings(
        model="efficientnet_b0",
        batch_size=768,
        epochs=450,
        opt="rmsproptf",
        opt_eps=1e-3,
        lr=0.048,
        weight_decay=1e-5,
        sched="step",
        decay_epochs=2.4,
        decay_rate=0.97,
        warmup_lr=1e-6,
        warmup_epochs=3.0,
        drop=0.2,
        drop_path=0.2,
        aa="rand-m9-mstd0.5",
        reprob=0.2,
        model_ema=True,
        model_ema_decay=0.9999,
    )


@_recipe
def resnet101_in1k() -> TrainConfig:
    """ResNet-101 on ImageNet-1k, "ResNet strikes back" A2 (Wightman et al. 2021, arXiv:2110.00476): 81.3 %.

    LAMB, batch 2048, 300 epochs, binary cross-entropy, mixup 0.1 and CutMix 1, RandAugment of level 7, test crop 0.95.
    """
    return _settings(
        model="resnet101",
        batch_size=2048,
        epochs=300,
        opt="lamb",
        lr=5e-3,
        weight_decay=0.02,
        warmup_epochs=5.0,
        warmup_lr=1e-4,
        bce_loss=True,
        aa="rand-m7-mstd0.5-inc1",
        mixup=0.1,
        cutmix=1.0,
        drop_path=0.05,
        crop_pct=0.95,
    )


@_recipe
def finetune() -> TrainConfig:
    """All of a pretrained network, its lower layers slower: AdamW, cosine, layer decay 0.75, light augmentation."""
    return _settings(
        pretrained=True,
        batch_size=64,
        epochs=10,
        opt="adamw",
        lr=1e-4,
        weight_decay=0.05,
        layer_decay=0.75,
        clip_grad=1.0,
        warmup_epochs=1.0,
        warmup_lr=1e-6,
        scale=(0.35, 1.0),
        color_jitter=0.2,
        smoothing=0.1,
    )


@_recipe
def finetune_frozen() -> TrainConfig:
    """A new classifier on a frozen, pretrained network, with augmentation."""
    return _settings(
        pretrained=True,
        freeze_backbone=True,
        batch_size=64,
        epochs=10,
        opt="adamw",
        lr=1e-3,
        weight_decay=0.01,
        warmup_epochs=0.0,
        scale=(0.35, 1.0),
        color_jitter=0.2,
    )


@_recipe
def linear_probe() -> TrainConfig:
    """A linear classifier on features that are computed once: minutes on a CPU."""
    return _settings(
        pretrained=True,
        freeze_backbone=True,
        cache_features=True,
        batch_size=64,
        epochs=30,
        opt="adamw",
        lr=3e-3,
        weight_decay=0.01,
        warmup_epochs=0.0,
        no_aug=True,
    )


@_recipe
def covid_ct() -> TrainConfig:
    """A frozen ResNet-101 with a new head tells two classes of CT slices apart (after Ledda, Fumera and Roli 2023).

    Global average pooling; Dense 256 with ReLU, batch normalisation and dropout; Dense 128 with ReLU and dropout; one
    sigmoid unit. Binary cross-entropy, Adam at 1e-4, 40 epochs. It ends in the uncertainty of the head's own dropouts,
    calibrated on the validation data. It runs on any folder of two classes; give --group-by where slices of one patient
    are in several files.
    """
    return _settings(
        model="resnet101",
        pretrained=True,
        freeze_backbone=True,
        head="mlp",
        head_hidden=(256, 128),
        head_batch_norm=(True, False),
        head_drop=0.5,
        task="binary",
        batch_size=32,
        epochs=40,
        opt="adam",
        lr=1e-4,
        weight_decay=0.0,
        sched="constant",
        warmup_epochs=0.0,
        scale=(0.8, 1.0),
        rotation=10.0,
        color_jitter=0.1,
        threshold="balanced_accuracy",
        uncertainty=("head",),
    )
