"""Files of every kind, those in data/ by the real PyTorch and safetensors, are read right or refused in clear words."""

import io
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxvision.weights import WeightsError, read_weights
from jaxvision.weights.formats import read_contents
from tests.weights.torch_files import DATA, Archive, FakeStorage, float_archive, legacy_stream, tensor, torch_pickle


def counting(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("file", ["dtypes.pth", "dtypes_legacy.pth", "dtypes.safetensors"])
def test_every_dtype(file):
    weights = read_weights(DATA / file)
    assert len(weights) == 12
    for name, array in weights.items():
        expected = counting(2, 3).astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
        assert array.dtype == expected.dtype, name
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("file", ["views.pth", "views_legacy.pth"])
def test_strided_shared_expanded_and_odd_tensors(file):
    weights = read_weights(DATA / file)
    base = counting(4, 6)
    expected = {
        "base": base,
        "transposed": base.T,
        "column": base[:, 2],
        "block": base[1:3, 1:4],
        "tail": base[3],
        "expanded": np.broadcast_to(counting(3), (2, 3)),
        "channels_last": counting(2, 3, 2, 2),
        "scalar": np.float32(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert list(weights) == list(expected)
    for name, array in expected.items():
        assert weights[name].shape == array.shape, name
        np.testing.assert_array_equal(weights[name], array)


def test_views_of_one_storage_share_memory_and_cannot_be_written():
    weights = read_weights(DATA / "views.pth")
    assert np.shares_memory(weights["base"], weights["transposed"])
    with pytest.raises(ValueError, match="read-only"):
        weights["base"][0] = 1


def test_module_state_and_parameters():
    state = read_weights(DATA / "state_dict.pth")
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert state["num_batches_tracked"].shape == ()
    assert state["num_batches_tracked"].dtype == np.int64
    assert read_weights(DATA / "parameters.pth")["weight"].shape == (2, 3)


def test_state_dict_inside_a_checkpoint_is_found_and_said():
    contents = read_contents(DATA / "checkpoint.pth")
    np.testing.assert_array_equal(contents.weights["weight"], counting(2, 3))
    assert contents.notes == ("took the weights under 'state_dict', left aside epoch, arch, optimizer",)


def test_averaged_weights_come_first(write):
    storage = {"0": counting(2).tobytes(), "1": (counting(2) + 5).tobytes()}
    trees = [{"weight": tensor(FakeStorage(key, "FloatStorage", 2), (2,), (1,))} for key in storage]
    path = write(Archive(torch_pickle({"model": trees[0], "model_ema": trees[1]}), storage))
    np.testing.assert_array_equal(read_weights(path)["weight"], [5, 6])


def test_storages_that_are_not_needed_are_not_read(write):
    wanted = {"weight": tensor(FakeStorage("0", "FloatStorage", 2), (2,), (1,))}
    moments = {"step": tensor(FakeStorage("absent", "FloatStorage", 9), (9,), (1,))}
    path = write(Archive(torch_pickle({"state_dict": wanted, "optimizer": moments}), {"0": counting(2).tobytes()}))
    np.testing.assert_array_equal(read_weights(path)["weight"], [0, 1])


def test_other_values_among_the_tensors_are_left_aside_and_said(write):
    tree = {"weight": tensor(FakeStorage("0", "FloatStorage", 2), (2,), (1,)), "epoch": 3, "tags": ["a", (1, None)]}
    contents = read_contents(write(Archive(torch_pickle(tree), {"0": counting(2).tobytes()})))
    assert list(contents.weights) == ["weight"]
    assert contents.notes == ("left aside what is not a tensor: epoch, tags",)


@pytest.mark.parametrize("tree", [{}, {"epoch": 3}, [1, 2], {"optimizer": {"lr": 0.1}}, 7])
def test_files_without_a_state_dict(write, tree):
    with pytest.raises(WeightsError, match="holds no state_dict"):
        read_weights(write(Archive(torch_pickle(tree), {})))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(write, protocol):
    tree = {"weight": tensor(FakeStorage("0", "FloatStorage", 6), (2, 3), (3, 1)), "epoch": 2**40, "lr": 0.1}
    path = write(Archive(torch_pickle(tree, protocol=protocol), {"0": counting(6).tobytes()}))
    np.testing.assert_array_equal(read_weights(path)["weight"], counting(2, 3))


def test_big_endian_file(write):
    archive = Archive(
        torch_pickle(
            {
                "float": tensor(FakeStorage("0", "FloatStorage", 3), (3,), (1,)),
                "brain": tensor(FakeStorage("1", "BFloat16Storage", 3), (3,), (1,)),
            }
        ),
        {
            "0": counting(3).astype(">f4").tobytes(),
            "1": counting(3).astype(ml_dtypes.bfloat16).view(np.uint16).astype(">u2").tobytes(),
        },
        {"byteorder": b"big"},
    )
    for array in read_weights(write(archive)).values():
        np.testing.assert_array_equal(array.astype(np.float32), counting(3))
    archive.extra["byteorder"] = b"middle"
    with pytest.raises(WeightsError, match="byte order is 'middle'"):
        read_weights(write(archive))


def test_files_of_before_pytorch_2_have_no_byte_order_and_are_little_endian(write):
    archive = float_archive(weight=counting(3))
    archive.extra.clear()
    np.testing.assert_array_equal(read_weights(write(archive))["weight"], counting(3))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("args.pth", "'argparse.Namespace', which is refused"),
        ("module.pth", "'torch.nn.modules.linear.Linear', which is refused"),
        ("quantised.pth", "quantised tensors are not read; save them dequantised"),
        ("sparse.pth", "sparse tensors are not read; save them dense"),
        ("float8.pth", "8-bit floats are not read"),
        ("float8.safetensors", "'weight' is of type F8_E4M3; only F64"),
        ("conjugated.pth", "conjugation or negation is pending"),
        ("script.pt", "a TorchScript program"),
    ],
)
def test_what_is_refused_is_named(file, words):
    with pytest.raises(WeightsError, match=words) as error:
        read_weights(DATA / file)
    assert str(DATA / file) in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b'{"error": "Repository not found"}', "a JSON file"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x80\x04\x95\x10", "a bare pickle"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array"),
        (b"these are no weights", "none of safetensors, PyTorch"),
        (b"PK\x03\x04 and no more", "truncated or corrupt"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ and no more", "truncated or corrupt"),
    ],
)
def test_impostors_are_recognised(write, content, words):
    path = write(content, "model.safetensors")
    with pytest.raises(WeightsError, match=words) as error:
        read_weights(path)
    assert str(path) in str(error.value)


def test_the_suffix_does_not_matter(write):
    raw = safetensors.numpy.save({"weight": counting(2)})
    np.testing.assert_array_equal(read_weights(write(raw, "pytorch_model.bin"))["weight"], [0, 1])


def test_missing_files_and_folders_are_the_systems_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        read_weights(tmp_path / "absent.pth")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "weights.npz", **{"Transformer/encoder/kernel": counting(2, 3), "step": np.int64(4)})
    weights = read_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(weights["Transformer/encoder/kernel"], counting(2, 3))
    assert weights["step"] == 4


def test_npz_of_python_objects_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", weight=np.array([object()]))
    with pytest.raises(WeightsError, match="Python objects"):
        read_weights(tmp_path / "weights.npz")


def test_a_corrupt_storage_is_noticed(write):
    path = write(float_archive(weight=counting(64)))
    raw = bytearray(path.read_bytes())
    position = raw.index(counting(64).tobytes())
    raw[position + 17] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="truncated or corrupt"):
        read_weights(path)


def test_compressed_entries_are_refused(write):
    archive = float_archive(weight=np.zeros(10_000))
    archive.compression = zipfile.ZIP_DEFLATED
    with pytest.raises(WeightsError, match="'archive/byteorder' is compressed"):
        read_weights(write(archive))


def test_zip_archives_that_are_not_pytorchs(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"a zip archive with 0 entries data\.pkl"):
        read_weights(write(file.getvalue()))


def test_storages_of_the_wrong_size_or_absent(write):
    archive = float_archive(weight=counting(4))
    archive.storages["0"] = archive.storages["0"][:-4]
    with pytest.raises(WeightsError, match="storage '0' has 12 bytes, not 16"):
        read_weights(write(archive))
    archive.storages.clear()
    with pytest.raises(WeightsError, match="no entry 'archive/data/0'"):
        read_weights(write(archive))


LEGACY_TREE = {"weight": tensor(FakeStorage("94", "FloatStorage", 4), (2, 2), (2, 1))}


def test_legacy_stream_as_written_by_hand(write):
    path = write(legacy_stream(LEGACY_TREE, {"94": counting(4)}))
    np.testing.assert_array_equal(read_weights(path)["weight"], counting(2, 2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (legacy_stream(LEGACY_TREE, {"94": counting(4)})[:-1], "file at"),
        (legacy_stream(LEGACY_TREE, {"94": counting(4)}) + b"\0", "file at"),
        (legacy_stream(LEGACY_TREE, {"94": counting(3)}), "at the head of storage '94'"),
        (legacy_stream(LEGACY_TREE, {"95": counting(4)}), "not those that its tensors need"),
        (legacy_stream(LEGACY_TREE, {}), "not those that its tensors need"),
        (legacy_stream(LEGACY_TREE, {"94": counting(4)}, protocol=1000), "version 1000"),
    ],
)
def test_legacy_streams_that_are_wrong(write, content, words):
    with pytest.raises(WeightsError, match=words):
        read_weights(write(content))
