"""The settings of a run, under timm's flag names, in the groups that ``--help`` shows.

Every field has a name of its own across the groups, so that a file of settings (``args.yaml``) is flat, as timm's is.
"""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

Size = tuple[int] | tuple[int, int]


class ConfigError(ValueError):
    """A setting that does not exist, or whose value cannot be."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to learn from, and how it is read."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = ""
    """A folder with one folder a class (in train/ and val/, or without), a .csv or .npz file, tfds:NAME, digits,
    mnist5k or fashion_mnist."""
    data_dir: Path | None = None
    """Where prepared TFDS data, or fashion_mnist's files, are."""
    train_split: str | None = None
    """Name of the training split. Default: train, where the data have one."""
    val_split: str | None = None
    """Name of the validation split. Default: val or validation; else a part of the training data."""
    test_split: str | None = None
    """Name of the test split. Default: test, where the data have one."""
    val_fraction: float = 0.2
    """Share of the training data that validates, where no split does; drawn class by class."""
    test_fraction: float = 0.0
    """Share of the training data kept for a test, where no split is."""
    split_seed: int = 0
    """Seed of that division; apart from --seed, so that runs with other seeds see the same split."""
    group_by: str | None = None
    """What must not be divided between splits: a CSV column, or a regular expression with one group for file names,
    such as 'patient(\\d+)'."""
    file_column: str | None = None
    """CSV column of the files."""
    label_column: tuple[str, ...] = ()
    """CSV column of the labels, or several."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["-b"])] = 128
    """Examples in a step, over all devices and hosts."""
    validation_batch_size: Annotated[int | None, tyro.conf.arg(aliases=["-vb"])] = None
    """Examples in a batch of evaluation. Default: --batch-size."""
    workers: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 2
    """Threads that read and change pictures."""
    worker_processes: int = 0
    """Processes with --workers threads each; 0 for threads of this process only."""
    sampling: Literal["none", "oversample", "undersample"] = "none"
    """Against imbalance: repeat the rare classes, or leave out of the frequent ones, anew in each epoch."""
    bad_file_limit: float = 0.01
    """Share of the pictures (and at least 10) that may be unreadable before the run stops."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The network, and which of it is trained."""

    model: str = "resnet50"
    """Name of the model; `jaxvision models` lists them."""
    pretrained: bool = False
    """Start from the published weights."""
    initial_checkpoint: str | None = None
    """Start from this file or repository of the Hugging Face hub; its classifier stays if it has as many
    classes and --head's layers."""
    num_classes: int | None = None
    """Number of classes. Default: that of the data."""
    in_chans: int | None = None
    """Channels of the pictures, 1 or 3. Default: 3."""
    img_size: Size | None = None
    """Side, or height and width, of the network's input. Default: that of the weights."""
    crop_pct: float | None = None
    """Evaluation: side of the crop over the side resized to. Default: that of the weights."""
    interpolation: str | None = None
    """Evaluation: the filter of resizing. Default: that of the weights."""
    mean: tuple[float, ...] | None = None
    """Of the pixels, in [0, 1], one for each channel. Default: that of the weights."""
    std: tuple[float, ...] | None = None
    """Of the pixels. Default: that of the weights."""
    head: Literal["linear", "mlp"] = "linear"
    """The classifier: one linear layer, or hidden layers with ReLU, batch normalisation and dropout before it."""
    head_hidden: tuple[int, ...] = (256, 128)
    """Widths of the hidden layers of --head mlp."""
    head_batch_norm: tuple[bool, ...] = (True, False)
    """Which of them have batch normalisation."""
    head_drop: float = 0.5
    """Dropout rate after each of them."""
    drop: float = 0.0
    """Dropout rate before the classifier."""
    drop_path: float = 0.0
    """Rate of stochastic depth."""
    model_options: dict[str, str] = field(default_factory=dict)
    """Other fields of the family's config, as NAME VALUE pairs: depth 4 embed_dim 96 scan True."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the computation; parameters are float32."""
    freeze: tuple[str, ...] = ()
    """Patterns of what is not trained, such as 'conv1' 'layer[12]' 'blocks.[0-5]'."""
    train_only: tuple[str, ...] = ()
    """Patterns of what is trained; all else is frozen."""
    freeze_backbone: bool = False
    """Train the classifier only."""
    cache_features: bool = False
    """With --freeze-backbone: compute what the backbone gives once, without augmentation, and train on that."""


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training pictures are changed."""

    no_aug: bool = False
    """Resize and crop the training pictures as in evaluation; no change at all."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Share of the area that a random crop has."""
    ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """Aspect ratio of a random crop."""
    hflip: float = 0.5
    """Probability of a horizontal flip."""
    vflip: float = 0.0
    """Probability of a vertical flip."""
    rotation: float = 0.0
    """Largest rotation, in degrees."""
    color_jitter: float = 0.4
    """Strength of random brightness, contrast and saturation; left out with --aa, as in timm."""
    aa: str | None = None
    """RandAugment, such as rand-m9-mstd0.5-inc1."""
    train_interpolation: str = "random"
    """random (bilinear or bicubic), bilinear or bicubic."""
    reprob: float = 0.0
    """Probability of random erasing."""
    remode: str = "pixel"
    """What erases: const, rand or pixel."""
    recount: int = 1
    """Largest number of erased rectangles."""
    mixup: float = 0.0
    """Mixup's alpha; 0 for none."""
    cutmix: float = 0.0
    """CutMix's alpha; 0 for none."""
    mixup_prob: float = 1.0
    """Probability of mixing a batch."""
    mixup_switch_prob: float = 0.5
    """Probability of CutMix where both are on."""
    mixup_mode: Literal["batch", "elem"] = "batch"
    """One draw for a batch, or one for each example."""


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised."""

    task: Literal["auto", "multiclass", "binary", "multilabel", "regression", "heteroscedastic"] = "auto"
    """What the labels are; auto tells it by the data, and takes two classes as multiclass with two logits."""
    smoothing: float = 0.0
    """Label smoothing."""
    bce_loss: bool = False
    """A binary cross-entropy for each class instead of a softmax."""
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    """A weight for each class, or balanced: inversely to how often it occurs."""
    focal_gamma: float = 0.0
    """Focusing parameter of the focal loss; 0 is cross-entropy."""
    focal_alpha: float | None = None
    """Weight of positives in the focal loss of binary and multilabel tasks."""
    l1: float = 0.0
    """Coefficient of the sum of the kernels' absolute values."""
    l2: float = 0.0
    """Coefficient of the sum of the kernels' squares."""


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """The optimiser and its schedule."""

    opt: str = "sgd"
    """sgd, momentum, adam, adamw, lamb, lars, lion, rmsproptf, adafactor, ..."""
    lr: float | None = None
    """Learning rate. Default: --lr-base times the batch over --lr-base-size, or its root for adaptive optimisers."""
    lr_base: float = 0.1
    """Learning rate of a batch of --lr-base-size."""
    lr_base_size: int = 256
    """See --lr-base."""
    momentum: float = 0.9
    """Of sgd, rmsprop and the like."""
    opt_betas: tuple[float, float] | None = None
    """Decay rates of Adam and the like. Default: the optimiser's own."""
    opt_eps: float | None = None
    """Epsilon. Default: the optimiser's own."""
    weight_decay: float = 2e-5
    """Weight decay, of all but biases, norms and position embeddings."""
    layer_decay: float | None = None
    """Factor of the learning rate from each layer to the one below it."""
    lr_rules: dict[str, float] = field(default_factory=dict)
    """Further factors of the learning rate, as PATTERN FACTOR pairs: patch_embed 0.1 head 10."""
    weight_decay_rules: dict[str, float] = field(default_factory=dict)
    """Other weight decays, as PATTERN VALUE pairs; the first that matches decides."""
    clip_grad: float | None = None
    """Limit for gradients."""
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    """What is limited: the norm of all, each value, or each unit's norm relative to its parameters'."""
    grad_accum_steps: int = 1
    """Batches whose gradients make one update."""
    sched: str = "cosine"
    """cosine, step, multistep, poly, plateau or constant."""
    epochs: int = 300
    """Epochs of the schedule."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up."""
    warmup_lr: float = 1e-5
    """Learning rate at its start."""
    min_lr: float = 0.0
    """Lowest learning rate."""
    decay_epochs: float = 30.0
    """Of step: epochs between drops."""
    decay_milestones: tuple[float, ...] = ()
    """Of multistep: epochs of the drops."""
    decay_rate: float = 0.1
    """Of step, multistep and plateau: factor of a drop."""
    patience_epochs: int = 10
    """Of plateau: epochs without an improvement before a drop."""
    cooldown_epochs: int = 0
    """Epochs at the lowest rate after the schedule."""
    early_stopping: int | None = None
    """Stop after this many epochs without an improvement."""
    model_ema: bool = False
    """Keep moving averages of the parameters, and evaluate them."""
    model_ema_decay: float = 0.9998
    """Their decay."""
    model_ema_warmup: bool = False
    """Let the decay rise from 0."""


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Where and how it runs."""

    output: Path | None = None
    """Folder of the run. Default: runs/MODEL-DATA-TIME."""
    seed: int = 42
    """Of everything that is drawn at random."""
    resume: Literal["auto", "never"] = "never"
    """auto: go on with the run in --output if there is one; else start it."""
    allow_changes: bool = False
    """Resume although settings that decide the result have changed."""
    eval_metric: str | None = None
    """What chooses the best checkpoint, such as accuracy, balanced_accuracy or loss. Default: accuracy; loss for
    regression."""
    threshold: str | None = None
    """Two classes: choose the threshold on the validation data by f1, youden, balanced_accuracy, 'recall>=0.95',
    'precision>=0.9' or 'cost:FN/FP=10'."""
    uncertainty: tuple[str, ...] = ()
    """At the end also say how sure the best checkpoint is, by a hundred passes with dropout injected there, tuned on
    the validation data: head, last-stage, all-blocks, or patterns; see `jaxvision uncertainty --help`."""
    log_interval: int = 50
    """Steps between two lines of the log."""
    checkpoint_interval: int = 0
    """Steps between checkpoints within an epoch; 0 for one at the end of each epoch."""
    checkpoint_hist: int = 2
    """How many of the newest checkpoints, and of the best, are kept."""
    nan_limit: int = 0
    """How many updates in a row may be skipped because the loss is not finite."""
    driver: Literal["jit", "pmap", "shard_map"] = "jit"
    """What spreads a step over devices."""
    fsdp: int = 1
    """Devices over which parameters are sharded (jit)."""
    compile_cache: str | None = None
    """Folder for compiled programs; 'none' for no cache. Default: JAX_COMPILATION_CACHE_DIR, or one in the user's
    cache."""
    profile_steps: str | None = None
    """FIRST:LAST, steps to trace with JAX's profiler into OUTPUT/profile."""
    tensorboard: bool = False
    """Also write TensorBoard's files."""
    wandb_project: str | None = None
    """Also log to this project of Weights & Biases."""
    coordinator: str | None = None
    """Several hosts outside of a known cluster: host:port of process 0."""
    num_processes: int | None = None
    """Several hosts: how many."""
    process_id: int | None = None
    """Several hosts: which one this is."""
    distributed: bool = False
    """Several hosts of a TPU pod, SLURM or Kubernetes, which JAX recognises by itself."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All the settings of a run."""

    data: tyro.conf.OmitArgPrefixes[DataOptions] = DataOptions()
    network: tyro.conf.OmitArgPrefixes[NetworkOptions] = NetworkOptions()
    augment: tyro.conf.OmitArgPrefixes[AugmentOptions] = AugmentOptions()
    loss: tyro.conf.OmitArgPrefixes[LossOptions] = LossOptions()
    optim: tyro.conf.OmitArgPrefixes[OptimOptions] = OptimOptions()
    job: tyro.conf.OmitArgPrefixes[JobOptions] = JobOptions()


GROUPS = ("data", "network", "augment", "loss", "optim", "job")

FREE_TO_CHANGE = {field.name for field in dataclasses.fields(JobOptions)} - {"seed", "eval_metric"} | {
    "data_dir",
    "validation_batch_size",
    "workers",
    "worker_processes",
    "bad_file_limit",
}
"""Settings that a resumed run may change without changing its result."""


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every setting by name, as plain values that YAML and JSON can hold."""
    return {name: _plain(value) for group in GROUPS for name, value in vars(getattr(config, group)).items()}


def replaced(config: TrainConfig, changes: Mapping[str, Any], origin: str = "settings") -> TrainConfig:
    """The config with settings changed by name.

    Args:
        config: where to start.
        changes: name (``lr`` or ``warmup-epochs``) to value; lists stand for tuples.
        origin: where they come from, for the message.

    Raises:
        ConfigError: there is no such setting, or its value is of another type; the nearest names are listed.
    """
    groups = {name: group for group in GROUPS for name in vars(getattr(config, group))}
    by_group: dict[str, dict[str, Any]] = {}
    for given, value in changes.items():
        name = given.replace("-", "_")
        if name not in groups:
            from jaxvision.paths import suggestion  # here, since it imports JAX, and `--help` must be quick

            raise ConfigError(f"{origin}: there is no setting {given!r}{suggestion(name, groups)}")
        kind = get_type_hints(type(getattr(config, groups[name])))[name]
        by_group.setdefault(groups[name], {})[name] = _typed(value, kind, f"{origin}: {given}")
    return dataclasses.replace(
        config, **{group: dataclasses.replace(getattr(config, group), **values) for group, values in by_group.items()}
    )


def read_config(path: str | Path, base: TrainConfig) -> TrainConfig:
    """A config from a YAML (or JSON) file of settings, on top of another.

    Raises:
        ConfigError: the file cannot be read, or holds what is no setting.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the settings {str(path)!r}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} holds {type(values).__name__}, expected lines such as 'lr: 0.1'")
    return replaced(config=base, changes=values, origin=str(path))


def write_config(path: str | Path, config: TrainConfig) -> None:
    """Writes ``args.yaml``: every setting, so that `read_config` gives the same config back."""
    import yaml

    Path(path).write_text(yaml.safe_dump(flat(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two `flat` configs and decides the result, as ``--lr was 0.1 and is 0.2``."""
    return [
        f"--{name.replace('_', '-')} was {old.get(name)!r} and is {value!r}"
        for name, value in new.items()
        if name not in FREE_TO_CHANGE and old.get(name) != value
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _typed(value: Any, kind: Any, what: str) -> Any:
    """A value out of a file as the type of its field, or an error."""
    for option in _options(kind):
        if option is type(None):
            if value is None:
                return None
        elif get_origin(option) is Literal:
            if value in get_args(option):
                return value
        elif get_origin(option) is dict:
            if isinstance(value, dict):
                kind_of_item = get_args(option)[1]
                return {str(name): kind_of_item(item) for name, item in value.items()}
        elif get_origin(option) is tuple:
            items = get_args(option)
            if isinstance(value, list | tuple) and (items[-1] is Ellipsis or len(items) == len(value)):
                return tuple(_typed(item, items[0], what) for item in value)
        elif option is Path:
            if isinstance(value, str | Path):
                return Path(value)
        elif option is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
            if isinstance(value, str):  # YAML reads 1e-4 as text
                try:
                    return float(value)
                except ValueError:
                    continue
        elif option is not bool and isinstance(value, bool):
            continue
        elif isinstance(value, option):
            return value
    raise ConfigError(f"{what} is {value!r}, expected {kind}")


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (types.UnionType, Union) else (kind,)
