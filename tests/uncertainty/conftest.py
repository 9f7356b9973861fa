from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxvision


class Mlp(nnx.Module):
    """Two hidden layers, one of them run twice."""

    def __init__(self, outputs: int = 3, seed: int = 0):
        rngs = nnx.Rngs(seed)
        self.fc1 = nnx.Linear(5, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.fc2 = nnx.Linear(16, 16, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(16, outputs, rngs=rngs)
        self.unused = nnx.Linear(16, 16, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(nnx.relu(self.fc1(x)))
        x = nnx.relu(self.fc2(x))
        x = nnx.relu(self.fc2(x))
        return self.out(self.drop(x))


@pytest.fixture(scope="session")
def mlp() -> Mlp:
    return Mlp()


@pytest.fixture(scope="session")
def points() -> jax.Array:
    return jax.random.normal(jax.random.key(1), (7, 5))


@pytest.fixture(scope="session")
def vit() -> Any:
    return tiny_vit()


@pytest.fixture(scope="session")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(2), (3, 16, 16, 3))


@pytest.fixture(scope="session")
def key() -> jax.Array:
    return jax.random.key(0)


def tiny_vit(**settings: Any) -> Any:
    size: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return jaxvision.create_model("vit_tiny_patch16_224", num_classes=4, **size, **settings)


def flat(variables: Any) -> list[jax.Array]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(variables)]
    return [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in leaves]
