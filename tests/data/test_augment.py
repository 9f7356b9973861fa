import math
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from jaxvision.data import pixel_ops as ops
from jaxvision.data.augment import TrainTransform, color_jitter, erased_rectangle, random_resized_crop
from jaxvision.data.rand_augment import OPERATIONS, RandAugment

GREY = {"mean": (0.5,), "std": (0.25,)}


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(load_sample_images().images[1], (100, 75), interpolation=cv2.INTER_AREA)


def rng(seed=0):
    return np.random.default_rng(seed)


PILLOW = {
    "autocontrast": (
        lambda x: ops.autocontrast(x // 2 + 30),
        lambda p: ImageOps.autocontrast(p.point(lambda v: v // 2 + 30)),
    ),
    "equalize": (ops.equalize, ImageOps.equalize),
    "invert": (ops.invert, ImageOps.invert),
    **{
        f"posterize {n}": (lambda x, n=n: ops.posterize(x, n), lambda p, n=n: ImageOps.posterize(p, n))
        for n in (1, 3, 8)
    },
    **{
        f"solarize {n}": (lambda x, n=n: ops.solarize(x, n), lambda p, n=n: ImageOps.solarize(p, n))
        for n in (0, 99, 256)
    },
    **{
        f"{op.__name__} {factor}": (
            lambda x, op=op, factor=factor: op(x, factor),
            lambda p, op=op, factor=factor: getattr(ImageEnhance, op.__name__.title())(p).enhance(factor),
        )
        for op in (ops.brightness, ops.contrast, ops.color, ops.sharpness)
        for factor in (0, 0.4, 1, 1.7)
    },
}


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixel_operations_are_pillows(photo, name, mode):
    ours, pillows = PILLOW[name]
    picture = Image.fromarray(photo).convert(mode)
    pixels = np.asarray(picture).reshape(75, 100, -1)
    before = pixels.copy()
    out = ours(pixels)
    expected = np.asarray(pillows(picture)).reshape(75, 100, -1)
    assert out.shape == expected.shape
    assert out.dtype == np.uint8
    exact = name.split()[0] in ("autocontrast", "equalize", "invert", "posterize", "solarize", "brightness")
    # Luma and smoothing are rounded sums, that may fall to the other side.
    assert np.abs(out.astype(int) - expected).max() <= (
        0 if exact else 1 if name.split()[1] in ("0", "0.4", "1") else 2
    )
    np.testing.assert_array_equal(pixels, before)


def test_flat_pictures_stay(photo):
    flat = np.full((6, 5, 3), 77, np.uint8)
    np.testing.assert_array_equal(ops.autocontrast(flat), flat)
    np.testing.assert_array_equal(ops.equalize(flat), flat)
    assert not ops.posterize(flat, 0).any()


def test_solarize_add_adds_below_the_threshold():
    values = np.array([[0, 100, 127, 128, 255]], np.uint8)[..., None]
    np.testing.assert_array_equal(ops.solarize_add(values, 110)[0, :, 0], [110, 210, 237, 128, 255])


@pytest.mark.parametrize(
    "interpolation", [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
@pytest.mark.parametrize(
    "matrix", [(1, 0.2, 0, 0, 1, 0), (1, 0, 0, -0.3, 1, 0), (1, 0, 20, 0, 1, 0), (1, 0, 0, 0, 1, -13), "rotate"]
)
def test_warps_are_pillows(photo, matrix, interpolation):
    smooth = cv2.GaussianBlur(photo, (0, 0), 2)  # OpenCV looks up at 1/32 of a pixel
    picture, warp = Image.fromarray(smooth), ops.Warp(ops.INTERPOLATIONS[interpolation[0]], (10, 20, 30))
    if matrix == "rotate":
        ours = ops.rotate(smooth, 20, warp)
        theirs = picture.rotate(20, interpolation[1], fillcolor=(10, 20, 30))
    else:
        ours = ops.affine(smooth, matrix, warp)
        theirs = picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, interpolation[1], fillcolor=(10, 20, 30)
        )
    difference = np.abs(ours.astype(int) - np.asarray(theirs)).max(-1)
    assert np.quantile(difference, 0.95) <= 2  # the rest is the seam, which Pillow does not smooth
    assert np.array_equal(ours[0, 0], (10, 20, 30)) == np.array_equal(np.asarray(theirs)[0, 0], (10, 20, 30))


def test_hue_turns_the_colour_circle():
    red = np.zeros((1, 1, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    np.testing.assert_allclose(ops.hue(red, 1 / 3)[0, 0], (0, 255, 0), atol=6)
    np.testing.assert_allclose(ops.hue(red, -1 / 3)[0, 0], (0, 0, 255), atol=6)
    np.testing.assert_array_equal(ops.hue(red, 0), red)


def test_a_large_picture_is_averaged_when_it_shrinks():
    board = np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 255
    np.testing.assert_allclose(ops.resize(board[..., None], (16, 16), cv2.INTER_LINEAR), 128, atol=1)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_takes_every_magnitude(photo, name, channels):
    pixels = photo[..., :channels]
    for level in (0, 0.35, 1, 3):
        warp = ops.Warp(cv2.INTER_LINEAR, (0,) * channels)
        out = OPERATIONS[name](pixels, level, rng(), warp)
        assert out.shape == pixels.shape
        assert out.dtype == np.uint8
    if name.endswith("Increasing") or name in ("Rotate", "SolarizeAdd") or name[:5] in ("Shear", "Trans"):
        identity = OPERATIONS[name](pixels, 0, rng(), warp)
        assert np.abs(identity.astype(int) - pixels).max() <= (15 if name == "PosterizeIncreasing" else 0)


def test_rand_augment_reads_timms_notation():
    assert RandAugment.parse("rand") == RandAugment(10, 2, 0.5, 0, 10, False, False)
    assert RandAugment.parse("rand-m9-mstd0.5-inc1") == RandAugment(9, magnitude_std=0.5, increasing=True)
    assert RandAugment.parse("rand-n3-p1-m15-mmax20-mstd101-tweights") == RandAugment(
        15, 3, 1, math.inf, 20, weighted=True
    )
    for bad, message in {
        "original": "must be RandAugment in timm's notation",
        "rand-m9-mstdd1": r"'mstdd1' in .*did you mean 'mstd0.5'",
        "rand-w0": "'w0' in 'rand-w0' is not a part",
        "rand-p2": "p must be a probability",
        "rand-n0": "n must be 1 or more",
        "rand-n16-tweights": "at most 15 if weighted",
    }.items():
        with pytest.raises(ValueError, match=message):
            RandAugment.parse(bad)


def test_rand_augment_draws_as_configured(photo, monkeypatch):
    drawn = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda x, level, rng, warp, name=name: drawn.append((name, level)) or x)
    generator = rng()
    for _ in range(2000):
        RandAugment.parse("rand-m5-n2-mstd1-inc1")(photo, generator, (0, 0, 0), cv2.INTER_LINEAR)
    names, levels = zip(*drawn, strict=True)
    assert len(names) == pytest.approx(2000, rel=0.06)
    assert len(set(names)) == 15
    assert "Color" not in names
    assert np.mean(levels) == pytest.approx(0.5, abs=0.01)
    assert np.std(levels) == pytest.approx(0.1, abs=0.01)
    drawn.clear()
    for _ in range(500):
        RandAugment.parse("rand-m5-mstd101-p1-tweights")(photo, generator, (0, 0, 0), cv2.INTER_LINEAR)
    names, levels = zip(*drawn, strict=True)
    assert names.count("Rotate") > 4 * names.count("ColorIncreasing")
    assert min(levels) < 0.05
    assert 0.45 < max(levels) <= 0.5


def test_random_resized_crop_has_the_papers_distribution():
    generator, crops = rng(), []
    for _ in range(4000):
        top, left, height, width = random_resized_crop((300, 400), (0.08, 1.0), (3 / 4, 4 / 3), generator)
        assert 0 <= top <= top + height <= 300
        assert 0 <= left <= left + width <= 400
        crops.append((height * width / 120000, width / height))
    areas, ratios = np.array(crops).T
    assert 0.07 < areas.min() < 0.1
    assert areas.max() > 0.95
    assert 0.74 < ratios.min() < 0.77
    assert 1.31 < ratios.max() < 1.34
    assert np.mean(np.log(ratios[areas < 0.5])) == pytest.approx(0, abs=0.01)
    fitting = [random_resized_crop((300, 400), (0.08, 1.0), (4 / 3, 4 / 3), generator) for _ in range(2000)]
    areas = np.array([height * width for _, _, height, width in fitting]) / 120000
    np.testing.assert_allclose(np.quantile(areas, [0.25, 0.5, 0.75]), [0.31, 0.54, 0.77], atol=0.03)


def test_what_never_fits_is_cut_from_the_middle():
    assert random_resized_crop((10, 100), (1, 1), (3 / 4, 4 / 3), rng()) == (0, 43, 10, 13)
    assert random_resized_crop((100, 10), (1, 1), (3 / 4, 4 / 3), rng()) == (43, 0, 13, 10)
    assert random_resized_crop((1, 1), (0.08, 1), (3 / 4, 4 / 3), rng()) == (0, 0, 1, 1)


PLAIN = TrainTransform(size=(75, 100), scale=(1, 1), ratio=(4 / 3, 4 / 3), hflip=0, color_jitter=0)


def test_without_changes_the_picture_stays(photo):
    np.testing.assert_array_equal(PLAIN(photo, rng()), photo)
    flipped = TrainTransform(size=(75, 100), scale=(1, 1), ratio=(4 / 3, 4 / 3), hflip=1, vflip=1, color_jitter=0)
    np.testing.assert_array_equal(flipped(photo, rng()), photo[::-1, ::-1])
    squashed = TrainTransform(size=(20, 20), no_aug=True)(photo, rng())
    assert squashed.mean() == pytest.approx(photo.mean(), abs=1)


ALL = {"vflip": 0.5, "rotation": 20, "grayscale_prob": 0.2, "reprob": 0.5, "recount": 3}


@pytest.mark.parametrize("remode", ["const", "rand", "pixel"])
@pytest.mark.parametrize("augment", [{"color_jitter": (0.4, 0.4, 0.4, 0.2)}, {"auto_augment": "rand-m9-mstd0.5-inc1"}])
@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once_is_a_function_of_the_generator(photo, remode, augment, channels):
    transform = TrainTransform(size=(32, 40), remode=remode, **ALL, **augment, **(GREY if channels == 1 else {}))
    transform = pickle.loads(pickle.dumps(transform))
    pixels = photo[..., :channels].copy()
    pixels.setflags(write=False)  # as Pillow's arrays are
    outputs = [transform(pixels, rng(seed)) for seed in range(12)]
    for seed, out in enumerate(outputs):
        assert out.shape == (32, 40, channels)
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, transform(pixels, rng(seed)))
    assert len({out.tobytes() for out in outputs}) == 12


def test_erasing_fills_with_the_mean_or_noise_of_the_data():
    black = np.zeros((60, 60, 3), np.uint8)
    options = {"size": (60, 60), "scale": (1, 1), "ratio": (1, 1), "color_jitter": 0, "reprob": 1}
    out = TrainTransform(**options)(black, rng())
    erased = out.any(-1)
    assert 0.02 <= erased.mean() <= 1 / 3
    np.testing.assert_array_equal(np.unique(out[erased], axis=0), [[124, 116, 104]])
    one = TrainTransform(**options, remode="rand", mean=(0.5,) * 3, std=(0.1,) * 3)
    colours = np.concatenate([np.unique(x[x.any(-1)], axis=0) for x in (one(black, rng(seed)) for seed in range(300))])
    assert len(colours) == 300
    many = TrainTransform(**options, remode="pixel", mean=(0.5,) * 3, std=(0.1,) * 3)(black, rng(1))
    for values in (colours, many[many.any(-1)]):
        np.testing.assert_allclose(values.mean(), 127.5, atol=4)
        np.testing.assert_allclose(values.std(), 25.5, rtol=0.15)
    rectangles = [erased_rectangle((60, 60), 3, rng(seed)) for seed in range(200)]
    assert all(height * width <= 60 * 60 / 9 * 1.1 for _, _, height, width in rectangles)


def test_colour_jitter_stays_in_its_range_and_varies_its_order():
    grey = np.full((4, 4, 1), 100, np.uint8)
    values = [color_jitter(grey, (0.3, 0, 0, 0), rng(seed))[0, 0, 0] for seed in range(300)]
    assert (min(values), max(values)) == (pytest.approx(70, abs=2), pytest.approx(130, abs=2))
    pixels = np.array([[[250, 10, 40], [0, 200, 90]]], np.uint8)
    assert len({color_jitter(pixels, (0.5,) * 4, rng(seed)).tobytes() for seed in range(30)}) == 30


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", (0, 3), "at least one pixel"),
        ("scale", (0.5, 0.2), "0 < smallest <= largest <= 1"),
        ("scale", (0.5, 1.2), "0 < smallest <= largest <= 1"),
        ("ratio", (0, 1), "two proportions"),
        ("hflip", 1.5, "hflip must be a probability"),
        ("rotation", -3, "0 to 180"),
        ("color_jitter", (0.1, 0.2), "one strength, three"),
        ("color_jitter", (0, 0, 0, 0.7), "at most 0.5"),
        ("color_jitter", -1, "none negative"),
        ("auto_augment", "v0", "in timm's notation"),
        ("interpolation", "bicubik", "did you mean 'bicubic'"),
        ("remode", "noise", "const, rand, pixel"),
        ("recount", 0, "reprob=0"),
        ("mean", (0.5, 0.5), "one number or three"),
    ],
)
def test_wrong_settings_say_what_is_right(field, value, message):
    with pytest.raises(ValueError, match=message):
        TrainTransform(**{field: value})


def test_a_wrong_number_of_channels_is_named(photo):
    with pytest.raises(ValueError, match="decode them in mode 'L'"):
        TrainTransform(**GREY)(photo, rng())
