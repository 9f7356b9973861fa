import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_sample_images

from jaxvision.data.decode import _opencv_is_exact, decode
from jaxvision.data.images import ImageError


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(load_sample_images().images[0]).resize((61, 47))


def encoded(picture, suffix, **options):
    buffer = io.BytesIO()
    picture.save(buffer, suffix, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": lambda p: encoded(p, "JPEG", quality=80),
    "jpeg 4:4:4": lambda p: encoded(p, "JPEG", quality=95, subsampling=0),
    "progressive": lambda p: encoded(p, "JPEG", progressive=True),
    "jpeg in rgb": lambda p: encoded(p, "JPEG", keep_rgb=True),
    "grey jpeg": lambda p: encoded(p.convert("L"), "JPEG"),
    "png": lambda p: encoded(p, "PNG"),
    "grey png": lambda p: encoded(p.convert("L"), "PNG"),
    "rgba png": lambda p: encoded(Image.merge("RGBA", (*p.split(), p.getchannel(0))), "PNG"),
}
ONLY_PILLOW = {
    "cmyk": lambda p: encoded(p.convert("CMYK"), "JPEG"),
    "16 bits": lambda p: encoded(Image.fromarray(np.asarray(p.convert("L")).astype(np.uint16) * 200), "PNG"),
    "palette": lambda p: encoded(p.quantize(16), "PNG", transparency=bytes(range(16))),
    "bilevel": lambda p: encoded(p.convert("1"), "PNG"),
    "webp": lambda p: encoded(p, "WEBP"),
    "gif": lambda p: encoded(p, "GIF"),
    "trailing bytes": lambda p: encoded(p, "JPEG") + b"thumbnail",
}


@pytest.mark.parametrize("name", [*FILES, *ONLY_PILLOW])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_fast_pixels_are_pillows(photo, name, mode):
    content = (FILES | ONLY_PILLOW)[name](photo)
    assert _opencv_is_exact(content) == (name in FILES)
    exact, fast = decode(content, mode, fast=False), decode(content, mode)
    assert exact.shape == fast.shape == (47, 61, 3 if mode == "RGB" else 1)
    assert exact.dtype == fast.dtype == np.uint8
    level = 1 if mode == "L" and "grey" not in name and name in FILES else 0
    assert np.abs(exact.astype(int) - fast).max() <= level


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["exif jpeg", "exif png", "xmp jpeg", "xmp png"])
def test_every_orientation_is_carried_out(photo, orientation, where):
    kind, suffix = where.split()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif}
    if kind == "xmp":
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="{orientation}"/>'
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        options = {"xmp": xmp.encode()} if suffix == "jpeg" else {"pnginfo": info}
    content = encoded(photo, suffix.upper(), **options)
    assert decode(content).shape[:2] == ((47, 61) if orientation < 5 else (61, 47))
    np.testing.assert_array_equal(decode(content), decode(content, fast=False))


def test_paths_and_bytes_give_the_same_and_errors_name_the_file(photo, tmp_path):
    content = FILES["jpeg"](photo)
    (tmp_path / "a.jpg").write_bytes(content)
    np.testing.assert_array_equal(decode(str(tmp_path / "a.jpg")), decode(content))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    for fast in (True, False):
        with pytest.raises(ImageError, match=r"b\.jpg' is not in a format"):
            decode(str(tmp_path / "b.jpg"), fast=fast)
        with pytest.raises(ImageError, match=r"cannot open .*c\.jpg.*No such file"):
            decode(str(tmp_path / "c.jpg"), fast=fast)
        with pytest.raises(ImageError, match="'train/7' is empty"):
            decode(b"", fast=fast, name="train/7")


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "rgba png"])
def test_truncated_files_are_refused_wherever_they_end(photo, name):
    content = FILES[name](photo)
    for end in np.linspace(1, len(content) - 30, 12).astype(int):  # Pillow does not miss a PNG's empty last chunk
        with pytest.raises(ImageError, match="'x'"):
            decode(content[:end], name="x")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_damage_is_noticed_where_pillow_notices_it(photo, name):
    content, rng, refused = FILES[name](photo), np.random.default_rng(0), 0
    for _ in range(80):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            expected = decode(bytes(damaged), fast=False)
        except ImageError:
            refused += 1
            with pytest.raises(ImageError):
                decode(bytes(damaged))
        else:
            assert decode(bytes(damaged)).shape == expected.shape
    assert refused > 5


def test_arrays_are_brought_to_the_mode():
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (5, 4), np.uint8), rng.integers(0, 256, (5, 4, 4), np.uint8)
    np.testing.assert_array_equal(decode(grey, "L")[..., 0], grey)
    np.testing.assert_array_equal(decode(grey[..., None]), np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(decode(colour), colour[..., :3])
    np.testing.assert_array_equal(decode(colour[..., :3], "L")[..., 0], Image.fromarray(colour[..., :3]).convert("L"))
    for bad in (grey.astype(float), colour[..., :2], grey[:0], colour[None]):
        with pytest.raises(ImageError, match=r"'slice 3' is .* expected uint8 \(h, w, c\)"):
            decode(bad, name="slice 3")
