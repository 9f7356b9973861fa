"""The training, validation and test data that the settings name."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxvision.data.dataset import ImageDataset, class_counts, label_kind
from jaxvision.data.sampling import balanced_class_weights
from jaxvision.data.sources import ALL, SourceOptions, open_dataset, open_splits
from jaxvision.data.splits import split
from jaxvision.training.config import ConfigError, DataOptions, LossOptions, NetworkOptions, TrainConfig
from jaxvision.training.losses import Task, make_task, positive_weights


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data; the latter two may be missing."""

    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None

    def summary(self) -> str:
        """How many examples each split has, class by class where the classes are few."""
        lines = []
        for name, dataset in (("training", self.train), ("validation", self.val), ("test", self.test)):
            if dataset is not None:
                line = f"{name}: {len(dataset)} pictures"
                if label_kind(dataset) != "regression" and len(dataset.class_names) <= 12:
                    line += " (" + ", ".join(f"{c} {n}" for c, n in class_counts(dataset).items()) + ")"
                lines.append(line)
        return "\n".join(lines)

    def named(self) -> dict[str, ImageDataset]:
        """Those that there are, by name."""
        return {name: dataset for name, dataset in vars(self).items() if dataset is not None}


def open_data(options: DataOptions, task: str = "auto") -> Splits:
    """Opens the data, and divides the training data where there is no split to validate (or test) on.

    The division is drawn class by class, and by groups where there are any, from ``--split-seed``.

    Raises:
        ConfigError: no data or a split that does not exist are asked for.
        DatasetError: the data cannot be used.
    """
    if not options.data:
        raise ConfigError("name the data: a folder with one folder a class, a .csv, .npz, tfds:NAME, or digits")
    source = _source(options, task)
    found = open_splits(options.data, source)

    def named(given: str | None, name: str) -> ImageDataset | None:
        return found.get(name) if given is None else open_dataset(options.data, split=given, options=source)

    train = named(options.train_split, "train")
    train = found.get(ALL) if train is None else train
    if train is None:
        raise ConfigError(f"{options.data!r} has the splits {', '.join(found)}: name one by --train-split")
    val, test = named(options.val_split, "val"), named(options.test_split, "test")
    fractions = {}
    if val is None and options.val_fraction:
        fractions["val"] = options.val_fraction
    if test is None and options.test_fraction:
        fractions["test"] = options.test_fraction
    if fractions:
        parts = split(train, fractions, seed=options.split_seed)
        train, val, test = parts["train"], parts.get("val", val), parts.get("test", test)
    return Splits(train, val, test)


def known_splits(
    options: DataOptions, task: str = "auto", class_names: tuple[str, ...] = ()
) -> dict[str, ImageDataset]:
    """All the splits that data to evaluate on have, as they are; see `open_split`.

    Raises:
        DatasetError: the data cannot be used, or have other classes.
    """
    return open_splits(options.data, _source(options, task, class_names))


def open_split(
    options: DataOptions, name: str | None, task: str = "auto", class_names: tuple[str, ...] = ()
) -> tuple[ImageDataset, str]:
    """Data to evaluate on, as they are: the split of a name, or else the test or the validation split, or all.

    Args:
        options: the data.
        name: of the split, or None.
        task: what the labels are.
        class_names: the classes in the order of the network's outputs, so that data of only some of them fit, too.

    Returns:
        the examples, and the split's name.

    Raises:
        DatasetError: there is no such split, or there are other classes.
    """
    source = _source(options, task, class_names)
    if name is not None:
        return open_dataset(options.data, split=name, options=source), name
    found = open_splits(options.data, source)
    name = next((split for split in ("test", "val", ALL, "train") if split in found), next(iter(found)))
    return found[name], name


def _source(options: DataOptions, task: str, class_names: tuple[str, ...] = ()) -> SourceOptions:
    kind = {"regression": "regression", "heteroscedastic": "regression", "multilabel": "multilabel"}.get(task)
    return SourceOptions(
        data_dir=options.data_dir,
        file_column=options.file_column,
        label_column=options.label_column,
        group_by=options.group_by,
        kind=kind,  # type: ignore[arg-type]
        class_names=class_names,
        allow_empty=bool(class_names),
    )


def choose_task(loss: LossOptions, network: NetworkOptions, dataset: ImageDataset) -> Task:
    """The task that the settings and the labels make.

    Raises:
        ConfigError: the settings and the data contradict each other.
    """
    kind = label_kind(dataset)
    name = kind if loss.task == "auto" else loss.task
    fits = {"multiclass": ("multiclass", "binary"), "multilabel": ("multilabel",), "regression": ()}[kind]
    fits = (*fits, "regression", "heteroscedastic") if kind == "regression" else fits
    if name not in fits:
        raise ConfigError(f"--task {name} does not fit the labels, which are {kind}: use --task {' or '.join(fits)}")
    if kind == "regression":
        classes = 1 if dataset.labels.ndim == 1 else dataset.labels.shape[1]
    else:
        classes = len(dataset.class_names)
    if network.num_classes not in (None, classes):
        raise ConfigError(
            f"--num-classes is {network.num_classes}, but the data have {classes}"
            + (
                f" ({', '.join(dataset.class_names[:8])}{', ...' if classes > 8 else ''})"
                if kind != "regression"
                else ""
            )
            + ": leave it out, or look at the folders"
        )
    weights: np.ndarray | tuple[float, ...] | None = None
    if loss.class_weights == "balanced":
        multilabel = kind == "multilabel"
        weights = positive_weights(dataset.labels) if multilabel else balanced_class_weights(dataset.labels, classes)
    elif loss.class_weights is not None:
        weights = loss.class_weights
    try:
        return make_task(
            name,
            classes,
            smoothing=loss.smoothing,
            class_weights=weights,
            focal_gamma=loss.focal_gamma,
            focal_alpha=loss.focal_alpha,
            bce=loss.bce_loss,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def selection(config: TrainConfig, task: Task) -> tuple[str, Literal["min", "max"]]:
    """The validation metric that chooses the best checkpoint, and whether it is best when small or large."""
    numeric = task.name in ("regression", "heteroscedastic")
    metric = config.job.eval_metric or ("loss" if numeric else "accuracy")
    return metric, "min" if metric in ("loss", "mse", "rmse", "mae") else "max"
