import sys

import numpy as np
import pytest
from PIL import Image

from jaxvision.explain import overlay

HEAT = np.array([[0.0, 2.0], [4.0, 8.0]])


def test_cold_and_hot_ends_are_the_colormaps():
    black = np.zeros((40, 60, 3), np.uint8)
    result = overlay(black, HEAT, alpha=1.0, colormap="gray")
    assert result.shape == (40, 60, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[0, 0], 0)
    np.testing.assert_array_equal(result[-1, -1], 255)
    np.testing.assert_allclose(result[0, -1], 255 / 4, atol=1)
    assert overlay(black, np.full((3, 3), 7.0), alpha=1.0, colormap="gray").max() == 0


def test_alpha_is_the_share_of_the_heat():
    picture = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(picture, HEAT, alpha=0.0), picture)
    np.testing.assert_array_equal(overlay(picture, HEAT, alpha=0.5, colormap="gray")[-1, -1], round(177.5))


def test_grey_pictures_and_pillows():
    grey = np.random.default_rng(0).integers(0, 255, (5, 6), np.uint8)
    expected = overlay(np.repeat(grey[..., None], 3, -1), HEAT)
    for picture in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(overlay(picture, HEAT), expected)


@pytest.mark.parametrize(
    ("picture", "heat", "options", "message"),
    [
        (np.zeros((4, 4, 3)), HEAT, {}, "8-bit pixels.*float64"),
        (np.zeros((4, 4, 4), np.uint8), HEAT, {}, r"grey or RGB, got \(4, 4, 4\)"),
        (np.zeros((4, 4), np.uint8), HEAT[None], {}, "finite map of heat"),
        (np.zeros((4, 4), np.uint8), HEAT * np.nan, {}, "finite map of heat"),
        (np.zeros((4, 4), np.uint8), HEAT, {"alpha": 2}, "share from 0 to 1"),
        (np.zeros((4, 4), np.uint8), HEAT, {"colormap": "warm"}, "unknown colormap 'warm'"),
    ],
)
def test_mistakes_are_told(picture, heat, options, message):
    with pytest.raises(ValueError, match=message):
        overlay(picture, heat, **options)


def test_a_missing_matplotlib_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxvision-zoo\[plots\]'"):
        overlay(np.zeros((4, 4), np.uint8), HEAT)
