"""What every metric refuses. Only shapes, types and static options are looked at, so this works under `jax.jit` too."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, Shaped


def floats(values: Num[ArrayLike, "*b"] | Shaped[ArrayLike, "*b"]) -> Float[Array, "*b"]:
    """In float32 at least: half precision neither sums nor squares safely."""
    array = jnp.asarray(values)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def flat(**arrays: Shaped[ArrayLike, "*b"]) -> tuple[Float[Array, " n"], ...]:
    """The arrays as flat floats, one row for each number.

    Raises:
        ValueError: they differ in shape, are single numbers or empty. All are named.
    """
    values = {name: floats(array) for name, array in arrays.items()}
    shapes = {name: value.shape for name, value in values.items()}
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(set(shapes.values())) > 1:
        raise ValueError(f"these must have one shape: {shown}; (n,) against (n, 1) would broadcast, so reshape one")
    if any(value.ndim == 0 for value in values.values()):
        raise ValueError(f"these must be arrays with at least one axis, not single numbers: {shown}")
    if any(value.size == 0 for value in values.values()):
        raise ValueError(f"there is nothing to measure: {shown}")
    return tuple(value.reshape(-1) for value in values.values())


def distributions(probs: Float[ArrayLike, "*b k"], what: str = "probs") -> Float[Array, "*b k"]:
    """Values over at least two classes, on the last axis.

    Raises:
        ValueError: there is no axis of at least two classes, or no row.
    """
    values = floats(probs)
    if values.ndim < 2 or values.shape[-1] < 2:
        raise ValueError(
            f"{what} must have the shape (..., classes) with at least 2 classes, got {values.shape}; "
            "for one probability p an example stack 1 - p and p on the last axis"
        )
    if values.size == 0:
        raise ValueError(f"there is nothing to measure: {what} {values.shape}")
    return values


def class_rows(
    probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"], what: str = "probs"
) -> tuple[Float[Array, "n k"], Int[Array, " n"]]:
    """Values over classes and the true classes, one row each; leading axes (pixels) are rows too.

    Raises:
        ValueError: wrong shapes, labels that are not integers, fewer than two classes, or no row.
    """
    values, classes = distributions(probs, what), jnp.asarray(labels)
    if classes.shape != values.shape[:-1]:
        raise ValueError(
            f"labels must have the shape {values.shape[:-1]}, one class index for each row of {what} {values.shape}, "
            f"got {classes.shape}"
        )
    if not (jnp.issubdtype(classes.dtype, jnp.integer) or classes.dtype == jnp.bool_):
        raise ValueError(f"labels must be integers, the indices of classes, got {classes.dtype}")
    return values.reshape(-1, values.shape[-1]), classes.reshape(-1).astype(jnp.int32)


def check_bins(bins: int) -> None:
    """Refuses a number of bins below one.

    Raises:
        ValueError: it is.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")


def check_fraction(name: str, value: float) -> None:
    """Refuses a level or the like outside (0, 1).

    Raises:
        ValueError: it is.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, both excluded, got {value}")
