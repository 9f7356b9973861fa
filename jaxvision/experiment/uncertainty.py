"""How sure is what was trained? Injected dropout, tuned on validation data, measured on test data, and reported."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import uncertainty as uq
from jaxvision.data.dataset import ImageDataset, label_kind
from jaxvision.data.decode import decode
from jaxvision.experiment.holdout import HoldOut, hold_out
from jaxvision.experiment.injection import InjectionOptions
from jaxvision.experiment.network import Network, classifier_view
from jaxvision.experiment.rows import Pictures, Split, Watch, make_backbone, predict_rows
from jaxvision.experiment.sites import checked_rates, in_classifier, inject
from jaxvision.experiment.splits import choose_task, known_splits, open_data, open_split
from jaxvision.experiment.trained import class_names_of, load_trained, settings_of, without_weights
from jaxvision.functional import update
from jaxvision.training.config import ConfigError, DataOptions
from jaxvision.training.losses import Task
from jaxvision.uncertainty.overlap import RowSketch
from jaxvision.uncertainty.report import write_uncertainty_report

Say = Callable[[str], None]
Conformal = uq.conformal.ConformalSets | uq.conformal.ConformalIntervals


@dataclass(frozen=True)
class Uncertain:
    """What came of it.

    Attributes:
        calibration: the tuned network, which is in ``calibration.json`` too.
        findings: every number of the report, as ``uncertainty.json`` has them.
        report: path of ``report.html``.
    """

    calibration: uq.Calibrated
    findings: dict[str, Any]
    report: Path


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained network, and how it is fed.

    Attributes:
        network: with its trained variables.
        task: what its outputs are.
        batch_size: pictures in one pass.
        workers: threads that read pictures.
        watch: is told of each batch that is read.
    """

    network: Network
    task: Task
    batch_size: int = 64
    workers: int = 2
    watch: Watch = lambda what, done, total: None

    def pictures(self, dataset: ImageDataset, name: str) -> Pictures:
        """A data set as the network sees it."""
        return Pictures(dataset, self.network, self.batch_size, self.workers, name, self.watch)


def uncertainty(
    source: str,
    data: DataOptions,
    options: InjectionOptions,
    *,
    val_split: str | None = None,
    split: str | None = None,
    ood: str | None = None,
    checkpoint: str = "best",
    output: Path,
    batch_size: int = 64,
    workers: int = 2,
    say: Say = print,
    watch: Watch = lambda what, done, total: None,
) -> Uncertain:
    """Tunes injected dropout on a validation split, measures it on a test split, and writes the report.

    Args:
        source: folder of a run, or name of a model with published weights.
        data: other data than the run's; its ``data`` may be empty.
        options: sites, samples, rates.
        val_split: what to tune on; see `hold_out`.
        split: what to measure on.
        ood: data that are not what the network knows; their labels, if they have any, are not looked at.
        checkpoint: of a run: ``"best"``, ``"last"`` or a step.
        output: folder of the report.
        batch_size: pictures in one pass.
        workers: threads that read pictures.
        say: takes lines of text for whoever watches.
        watch: is told how far a pass over the data is.

    Raises:
        ConfigError: the source is neither a run nor a model, or there is nothing to tune on but what is measured.
        DatasetError: data that cannot be used.
        PatternError, SiteError: sites that the network does not have.
        CheckpointError: a run has no such checkpoint.
    """
    run = settings_of(source)
    foreign = bool(data.data)
    where, kind = data if foreign else run.data, run.loss.task
    if not where.data:
        raise ConfigError("a published model has no data of its own: name them by --data")
    names = class_names_of(source) if foreign else ()
    known = known_splits(where, kind, names) if foreign else open_data(where, kind).named()
    parts = hold_out(
        known,
        lambda name: open_split(where, name, kind, names)[0],
        tuning=val_split,
        test=split,
        conformal=options.alpha is not None,
        seed=options.seed,
    )
    others = None
    if ood is not None:
        others = ood, open_split(DataOptions(data=ood, data_dir=data.data_dir), None)[0]
    task = choose_task(without_weights(run.loss), run.network, parts.tuning)
    network, variables = load_trained(source, run, task, checkpoint)
    update(network.model, jax.tree.map(jnp.asarray, variables))
    return estimate(
        Subject(
            network=network,
            task=task,
            batch_size=batch_size,
            workers=workers,
            watch=watch,
        ),
        parts,
        options,
        out_of_distribution=others,
        output=output,
        title=f"How sure is {Path(source).name} on {Path(where.data).name}?",
        settings={"source": source, "data": where.data, "checkpoint": checkpoint},
        say=say,
    )


def estimate(
    subject: Subject,
    parts: HoldOut,
    options: InjectionOptions,
    *,
    out_of_distribution: tuple[str, ImageDataset] | None = None,
    output: Path,
    title: str,
    settings: dict[str, Any],
    say: Say = print,
) -> Uncertain:
    """The same for a network and data that are open already.

    Pictures are read anew in each pass over them, so that memory does not grow with their number; but of sites in the
    classifier what the rest of the network computes is kept, one vector a picture.
    """
    network, task = subject.network, subject.task
    rates = checked_rates(options, task)
    whole = inject(network, task, options)
    say(f"sites: {', '.join(options.sites)}; {str(whole.sites).splitlines()[-1]}")
    backbone, net = None, whole
    if in_classifier(whole, network):
        backbone = make_backbone(network)
        net = replace(inject(network, task, options, of=classifier_view(network.model)), plan=whole.plan)
    tuning = subject.pictures(parts.tuning, "tuning").read(backbone)
    test, twins = subject.pictures(parts.test, "test").read(backbone).without(tuning)
    say(f"{parts.sentence} {len(tuning.dataset)} and {len(test.dataset)} pictures.")
    key = jax.random.key(options.seed)
    cal = uq.tune(
        net,
        tuning.rows,
        tuning.dataset.labels,
        key,
        rates=rates,
        num_samples=options.samples,
        scale=options.scale,
        center=options.center,
        per_output=label_kind(tuning.dataset) == "regression" and np.ndim(tuning.dataset.labels) == 2,
        batch_size=subject.batch_size,
        test=(test.rows, test.dataset.labels),
        allow_overlap=True,  # pictures that occur twice were left out above
    )

    def predicted(split: Split) -> uq.Prediction:
        return predict_rows(cal, split.rows, key, subject.batch_size)

    prediction = predicted(test)
    strangers = conformal = None
    if out_of_distribution is not None:
        name, dataset = out_of_distribution
        strangers = name, predicted(subject.pictures(dataset, name).read(backbone))
    if options.alpha is not None and parts.conformal is not None:
        held, _ = subject.pictures(parts.conformal, "conformal").read(backbone).without(tuning)
        conformal = fit_conformal(predicted(held), held.dataset.labels, options.alpha)
    # What is saved is for whole pictures, whatever it was tuned on.
    saved = replace(
        cal,
        net=whole.with_rate(cal.rate),
        sketch=RowSketch.of(tuning.hashes),
        split=f"{cal.split}. {parts.sentence.removesuffix('.')}",
    )
    report = write_uncertainty_report(
        output,
        title=title,
        task=task.name,
        names=test.dataset.names,
        class_names=test.dataset.class_names,
        labels=test.dataset.labels,
        prediction=prediction,
        calibration=saved,
        settings={**settings, **_told(options)},
        pictures=lambda row: decode(test.dataset.read(row), "RGB", fast=False, name=test.dataset.names[row]),
        out_of_distribution=strangers,
        notes=[parts.sentence, *_remarks(test, twins)],
        conformal=conformal,
    )
    saved.save(output / "calibration.json")
    findings = json.loads((output / "uncertainty.json").read_text(encoding="utf-8"))
    return Uncertain(saved, findings, report)


def fit_conformal(prediction: uq.Prediction, labels: np.ndarray, alpha: float) -> Conformal:
    """Sets of classes (LAC), or intervals of numbers (normalised residuals), from rows that did not tune."""
    if isinstance(prediction, uq.ClassificationPrediction):
        return uq.conformal.fit_lac(prediction.probs, labels, alpha)
    return uq.conformal.fit_residuals(prediction.mean, prediction.std, labels.reshape(prediction.mean.shape), alpha)


def _remarks(test: Split, twins: int) -> list[str]:
    notes = []
    if twins:
        notes.append(f"{twins} pictures that are also, pixel for pixel, among those that tune were left out.")
    if test.bad_files:
        names = ", ".join(list(test.bad_files)[:5])
        notes.append(f"{len(test.bad_files)} unreadable pictures were left out: {names}")
    return notes


def _told(options: InjectionOptions) -> dict[str, Any]:
    """The settings: sites, samples, and what is not as by default."""
    default, given = dataclasses.asdict(InjectionOptions()), dataclasses.asdict(options)
    shown = {name: value for name, value in given.items() if value != default[name]}
    return {"sites": list(options.sites), "samples": options.samples} | shown
