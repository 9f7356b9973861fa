from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.nn.position import (
    crop_pos_embed,
    relative_position_index,
    resize_pos_embed,
    resize_relative_position_bias,
    square_grid,
)
from tests.reference.cases.positions import POSITIONS, WINDOWS
from tests.reference.synthetic import bias_table, position_embedding

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "positions.npz")


@pytest.mark.parametrize(("old", "new", "prefix"), POSITIONS)
def test_position_embeddings_are_resized_as_timm_does(old, new, prefix):
    resized = resize_pos_embed(jnp.asarray(position_embedding(old, prefix)), new, old, prefix)
    np.testing.assert_allclose(resized, GOLDEN[f"{old} {new} {prefix}"], atol=3e-6)


@pytest.mark.parametrize(("old", "new"), WINDOWS)
def test_bias_tables_are_resized_as_timm_does(old, new):
    np.testing.assert_allclose(
        resize_relative_position_bias(bias_table(old), new, old), GOLDEN[f"{old} {new}"], atol=1e-5
    )


def test_cropped_positions_are_the_first_of_a_square():
    embedding = jnp.asarray(position_embedding((3, 3), 1))
    square = np.asarray(resize_pos_embed(embedding, (4, 4), (3, 3), 1, "bilinear"))
    wide, tall = (np.asarray(crop_pos_embed(embedding, grid, 1)) for grid in ((2, 4), (4, 2)))
    np.testing.assert_array_equal(wide, square[:, :9])
    np.testing.assert_array_equal(tall, square[:, [0, 1, 2, 5, 6, 9, 10, 13, 14]])
    assert crop_pos_embed(embedding, (3, 3), 1) is embedding
    with pytest.raises(ValueError, match="10 patches do not make a square"):
        crop_pos_embed(embedding, (2, 4))


def test_the_same_size_is_left_alone():
    table, embedding = bias_table((7, 7)), jnp.asarray(position_embedding((4, 4), 1))
    assert resize_relative_position_bias(table, (7, 7), (7, 7)) is table
    assert resize_pos_embed(embedding, (4, 4), (4, 4), 1) is embedding


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="17 tokens are not those of 0 prefix tokens"):
        resize_pos_embed(jnp.zeros((1, 17, 4)), (2, 2), (4, 4), 0)
    with pytest.raises(ValueError, match="not one of a"):
        resize_relative_position_bias(np.zeros((10, 3)), (2, 2), (7, 7))
    with pytest.raises(ValueError, match="15 patches do not make a square"):
        square_grid(15)


def test_relative_positions_by_definition():
    index = relative_position_index((2, 3))
    for a in range(6):
        for b in range(6):
            dy, dx = a // 3 - b // 3, a % 3 - b % 3
            assert index[a, b] == (dy + 1) * 5 + dx + 2
