import numpy as np
import pytest
from PIL import Image

from jaxvision.data import ImageError, read_image


def pixels(picture):
    return np.asarray(picture)


@pytest.fixture
def rgb():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (suffix, mode)
        for suffix, modes in {
            ".png": ["1", "L", "P", "RGB"],
            ".jpg": ["L", "RGB", "CMYK", "YCbCr"],
            ".tif": ["1", "L", "P", "RGB", "CMYK", "YCbCr"],
            ".webp": ["L", "RGB"],
            ".gif": ["L", "P"],
            ".bmp": ["1", "L", "P", "RGB"],
        }.items()
        for mode in modes
    ],
)
def test_every_mode_becomes_eight_bit_rgb(tmp_path, rgb, suffix, mode):
    path = tmp_path / f"a{suffix}"
    rgb.convert(mode).save(path)
    picture = read_image(path)
    assert picture.mode == "RGB"
    assert picture.size == rgb.size
    with Image.open(path) as reference:
        np.testing.assert_array_equal(pixels(picture), pixels(reference.convert("RGB")))


def test_transparency_is_dropped_as_in_timm(tmp_path, rgb):
    rgba = rgb.copy()
    rgba.putalpha(7)
    rgba.save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.png")), pixels(rgb))


def test_palette_with_transparency_keeps_its_colours_without_a_warning(tmp_path, rgb, recwarn):
    palette = rgb.quantize(16)
    palette.save(tmp_path / "a.png", transparency=bytes(range(16)))
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.png")), pixels(palette.convert("RGB")))
    assert not recwarn.list


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(values).save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(pixels(read_image(tmp_path / f"a{suffix}", "L")), [[0, 0, 1, 128, 255]])
    (tmp_path / "a.pgm").write_bytes(b"P5 5 1 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.pgm"))[..., 1], [[0, 0, 1, 128, 255]])


def test_float_pixels_need_the_range_0_to_1(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.tif", "L")), [[0, 128, 255]])
    for bad in (2.0, -0.1, np.nan):
        Image.fromarray(np.array([[0, bad]], np.float32)).save(tmp_path / "b.tif")
        with pytest.raises(ImageError, match=r"b\.tif.* expected 0 to 1: convert it to 8 bits"):
            read_image(tmp_path / "b.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_carried_out(tmp_path, rgb, orientation):
    undo = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
    undo |= {5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1)}
    undo |= {7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90}
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.png")), undo[orientation](pixels(rgb)))


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_pillow_picture_is_left_as_it_is(rgb):
    grey = rgb.convert("L")
    assert read_image(grey).mode == "RGB"
    assert grey.mode == "L"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp", ".tif"])
def test_truncated_files_are_named(tmp_path, suffix):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=rf"a\{suffix}'"):
        read_image(tmp_path / f"a{suffix}")


def test_files_that_are_no_pictures_are_named(tmp_path):
    (tmp_path / "a.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"a\.jpg' is not in a format that Pillow reads"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").touch()
    with pytest.raises(ImageError, match=r"b\.jpg' is empty"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(ImageError, match=r"cannot open '.*c\.jpg': No such file"):
        read_image(tmp_path / "c.jpg")
    with pytest.raises(ImageError, match="Is a directory"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_never_escapes_as_another_error(tmp_path, rgb):
    rng, messages = np.random.default_rng(1), []
    for suffix in (".png", ".jpg", ".gif", ".tif", ".bmp", ".webp"):
        path = tmp_path / f"a{suffix}"
        rgb.save(path)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                assert read_image(path).mode == "RGB"
            except ImageError as error:
                messages.append(f"{path.name}: {error}")
    assert len(messages) > 60
    assert all(message.count(message.split(":")[0]) == 2 for message in messages)


def test_decompression_bombs_are_refused(tmp_path, rgb, monkeypatch):
    rgb.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"a\.png' is too large"):
        read_image(tmp_path / "a.png")
