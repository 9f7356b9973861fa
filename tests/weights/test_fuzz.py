"""Whatever happens to a file, reading it gives arrays or a `WeightsError` that names it, and nothing else."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvision.weights import WeightsError, read_weights
from tests.weights.torch_files import DATA, float_archive

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ARRAYS = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "bias": np.ones(2, np.float32)}


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **ARRAYS)
    return file.getvalue()


def torch_zip(tmp: Path) -> bytes:
    return float_archive(**ARRAYS).write(tmp / "seed.pth").read_bytes()


@pytest.fixture(scope="module", params=["zip", "npz", "safetensors", "views.pth", "views_legacy.pth", "checkpoint.pth"])
def original(request, tmp_path_factory) -> bytes:
    makers = {"zip": lambda: torch_zip(tmp_path_factory.mktemp("fuzz")), "npz": npz}
    makers["safetensors"] = lambda: safetensors.numpy.save(ARRAYS)
    return makers.get(request.param, lambda: (DATA / request.param).read_bytes())()


def read_or_refuse(path: Path, content: bytes) -> dict[str, np.ndarray] | None:
    path.write_bytes(content)
    try:
        weights = read_weights(path)
    except WeightsError as error:
        assert str(path) in str(error)  # noqa: PT017
        return None
    assert all(isinstance(array, np.ndarray) for array in weights.values())
    return weights


def test_the_originals_are_read(original, tmp_path):
    assert read_or_refuse(tmp_path / "weights", original)


@FUZZ
@given(data=st.data())
def test_flipped_bytes(original, tmp_path, data):
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    read_or_refuse(tmp_path / "weights", bytes(content))


@FUZZ
@given(data=st.data())
def test_truncated_files_are_refused(original, tmp_path, data):
    assert read_or_refuse(tmp_path / "weights", original[: data.draw(st.integers(0, len(original) - 1))]) is None


@FUZZ
@given(data=st.data())
def test_a_corrupt_pickle_in_a_sound_archive(tmp_path, data):
    archive = float_archive(**ARRAYS)
    content = bytearray(archive.pickle)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.pickle = bytes(content)
    read_or_refuse(tmp_path / "weights", archive.write(tmp_path / "made.pth").read_bytes())


@FUZZ
@given(content=st.binary(max_size=200), head=st.sampled_from([b"", b"PK\3\4", b"\x80\2\x8a\n", b"\0" * 8 + b"{"]))
def test_rubbish(tmp_path, content, head):
    assert read_or_refuse(tmp_path / "weights", head + content) is None


@FUZZ
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_pytorch_archive_never_changes_a_number(tmp_path, position, bit):
    content = bytearray(torch_zip(tmp_path))
    content[position % len(content)] ^= 1 << bit
    weights = read_or_refuse(tmp_path / "weights", bytes(content))
    for name, array in (weights or {}).items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_a_small_archive_cannot_ask_for_much_memory(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="is compressed"):
        read_weights(path)
