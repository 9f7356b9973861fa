import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import ImageError, Preprocess
from tests.data.preprocess_cases import CASES, MEAN, STD, picture, summary

GOLDEN = json.loads(Path(__file__).with_name("preprocess_golden.json").read_text())


@pytest.mark.parametrize(("case", "golden"), list(zip(CASES, GOLDEN, strict=True)), ids=str)
def test_equals_timm(case, golden):
    (height, width), (size, crop_pct, crop_mode, interpolation) = case
    result = Preprocess(size, crop_pct, crop_mode, interpolation, MEAN, STD)(picture(height, width))
    assert result.shape == (*size, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(summary(result), golden, atol=2e-6)


def test_golden_values_notice_a_shift_by_one_pixel():
    array = Preprocess()(picture(300, 451))
    assert np.abs(np.subtract(summary(np.roll(array, 1, axis=1)), summary(array))).max() > 1e-3


def test_batch_stacks_pictures_of_different_sizes(tmp_path):
    path = tmp_path / "a.png"
    picture(50, 70).save(path)
    preprocess = Preprocess(size=(32, 48))
    batch = preprocess.batch([path, str(path), picture(50, 70), picture(90, 20)])
    assert batch.shape == (4, 32, 48, 3)
    assert batch.dtype == np.float32
    for index in (1, 2):
        np.testing.assert_array_equal(batch[index], batch[0])
    np.testing.assert_array_equal(batch[3], preprocess(picture(90, 20)))


def test_mean_and_std_have_their_say():
    white = Image.new("RGB", (10, 10), (255, 255, 255))
    result = Preprocess(size=(4, 4), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))(white)
    np.testing.assert_array_equal(result, np.broadcast_to(np.float32([1, 3, 0.5]), (4, 4, 3)))


def test_one_mean_gives_one_grey_channel():
    red = Image.new("RGB", (10, 10), (255, 0, 0))
    result = Preprocess(size=(4, 5), mean=(0.0,), std=(1.0,))(red)
    np.testing.assert_allclose(result, np.full((4, 5, 1), 76 / 255), atol=1e-6)  # 0.299 of 255


def test_border_has_the_colour_of_the_mean():
    result = Preprocess(size=(30, 30), crop_pct=1.0, crop_mode="border", mean=(0.2, 0.4, 0.6), std=(1, 1, 1))(
        Image.new("RGB", (60, 20), (255, 255, 255))
    )
    np.testing.assert_allclose(result[:10], 0, atol=1e-6)
    np.testing.assert_allclose(result[10:20], np.broadcast_to([0.8, 0.6, 0.4], (10, 30, 3)), atol=1e-6)
    np.testing.assert_allclose(result[20:], 0, atol=1e-6)


def test_refuses_to_blow_up_a_thin_line():
    with pytest.raises(ImageError, match="too elongated: 60000 x 1 pixels would become 15360000 x 256"):
        Preprocess()(Image.new("RGB", (60000, 1)))
    assert Preprocess(crop_mode="squash")(Image.new("RGB", (60000, 1))).shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (0, 224)}, "size must be"),
        ({"crop_pct": 0}, "crop_pct must be"),
        ({"crop_mode": "centre"}, "one of center, squash, border, got 'centre'"),
        ({"interpolation": "cubic"}, "one of .*bicubic.*, got 'cubic'"),
        ({"mean": (0.5, 0.5)}, "one number or three"),
        ({"std": (0.5,)}, "one number or three"),
        ({"std": (0.2, 0, 0.2)}, "std must be"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**fields)
