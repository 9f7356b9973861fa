"""No file can run code, read outside its storages, or exhaust the memory; what it asks for is refused by name."""

import pickle
import pickletools
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from jaxvision.weights import WeightsError, read_weights
from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.pickle_machine import PickleMachine
from jaxvision.weights.formats.rebuild import ALLOWED, Storage
from tests.weights.torch_files import Archive, Call, FakeStorage, Global, legacy_stream, tensor, torch_pickle

STORAGE = FakeStorage("0", "FloatStorage", 4)
RAW = np.arange(4, dtype=np.float32).tobytes()


def machine() -> PickleMachine:
    return PickleMachine(ALLOWED, Storage.from_persistent_id)


def run(program: bytes) -> object:
    return machine().load(BytesIO(program))


class Bomb:
    """Unpickled by anything that runs code, it leaves a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.serialization", "load"),
        ("numpy.core.multiarray", "scalar"),
        ("jaxvision.weights.formats.rebuild", "ALLOWED"),
    ],
)
def test_other_globals_are_refused_by_name(write, legacy, module, name):
    tree = {"weight": tensor(STORAGE, (4,), (1,)), "extra": Call(Global(module, name), "echo")}
    content = legacy_stream(tree, {"0": np.zeros(4, "f4")}) if legacy else Archive(torch_pickle(tree), {"0": RAW})
    with pytest.raises(WeightsError, match=f"'{module}.{name}', which is refused"):
        read_weights(write(content))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_does_not(write, tmp_path, protocol):
    target = tmp_path / "ran"
    program = pickle.dumps({"weight": Bomb(target)}, protocol)
    with pytest.raises(WeightsError, match="is refused"):
        read_weights(write(Archive(program, {})))
    assert not target.exists()
    pickle.loads(program)
    assert target.exists()  # so the file was a real threat


@pytest.mark.parametrize(
    "opcode",
    [
        "INST",
        "OBJ",
        "NEWOBJ",
        "NEWOBJ_EX",
        "EXT1",
        "EXT2",
        "EXT4",
        "PERSID",
        "DUP",
        "NEXT_BUFFER",
        "DICT",
        "INT",
        "STRING",
    ],
)
def test_opcodes_that_tensors_do_not_need_are_refused(opcode):
    code = next(code for code in pickletools.opcodes if code.name == opcode).code.encode("latin-1")
    arguments = {
        "INST": b"os\nsystem\n",
        "EXT1": b"\1",
        "EXT2": b"\1\0",
        "EXT4": b"\1\0\0\0",
        "PERSID": b"0\n",
        "INT": b"1\n",
    }
    arguments["STRING"] = b"'a'\n"
    with pytest.raises(FormatError, match=f"uses {opcode}, which"):
        run(b"\x80\x02" + code + arguments.get(opcode, b"") + b".")


def test_only_functions_for_tensors_can_be_called():
    for program in (b"ctorch\nfloat32\n)R.", b"}X\1\0\0\0a\x85R.", b"ccollections\nOrderedDict\n]R."):
        with pytest.raises(FormatError, match="calls something that is not a function"):
            run(program)


def test_state_can_be_set_on_dictionaries_only_and_is_dropped():
    assert run(b"ccollections\nOrderedDict\n)R}X\1\0\0\0aK\1sb.") == {}
    for target in (b"ccollections\nOrderedDict\n", b"ctorch\nfloat32\n", b"]"):
        with pytest.raises(FormatError, match="sets attributes of a"):
            run(target + b"}b.")


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80\x02",
        b".",
        b"K\1K\2.",
        b"(K\1.",
        b"0.",
        b"K\1(0.",
        b"(\x85.",
        b"K\1(\x85.",
        b"h\7.",
        b"q\7.",
        b"t.",
        b"e.",
        b"]K\1u.",
        b"](K\1e0.",
        b"K\1(K\2e.",
        b"}(K\1u.",
        b"K\1K\2\x93.",
        b"Q.",
        b"K\1Q.",
        b"X\xff\xff\xff\xff.",
        b"X\1\0\0\0\xff.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\x7f.",
        b"\xff",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ccollections\nOrderedDict\n]K\1a\x85R.",
    ],
)
def test_programs_that_make_no_sense(program):
    with pytest.raises(FormatError):
        run(program)


def test_keys_of_dictionaries_are_plain():
    with pytest.raises(FormatError, match="a tuple as a key"):
        run(b"}K\1\x85K\2s.")
    with pytest.raises(FormatError, match="a tuple as a key"):
        run(b"ccollections\nOrderedDict\n]K\1\x85K\2\x86a\x85R.")


def test_deep_nesting_is_no_problem(write):
    depth = 100_000
    tree = torch_pickle({"weight": tensor(STORAGE, (4,), (1,))})
    nested = b"X\1\0\0\0x" + b"]" + b"\x85" * depth + b"s."
    weights = read_weights(write(Archive(tree.removesuffix(b".") + nested, {"0": RAW})))
    assert list(weights) == ["weight"]


def test_python_2s_way_with_ordered_dictionaries(write):
    ordered = Call(Global("collections", "OrderedDict"), [["weight", tensor(STORAGE, (2, 2), (2, 1))]])
    weights = read_weights(write(Archive(torch_pickle(ordered), {"0": RAW})))
    np.testing.assert_array_equal(weights["weight"], [[0, 1], [2, 3]])


def test_the_oldest_rebuild_function(write):
    old = Call(Global("torch._utils", "_rebuild_tensor"), STORAGE, 1, (3,), (1,))
    np.testing.assert_array_equal(read_weights(write(Archive(torch_pickle({"w": old}), {"0": RAW})))["w"], [1, 2, 3])


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2, 2), (3, 1), 0),
        ((2,), (2**62,), 0),
        ((2**40,), (2**40,), 0),
        ((1,), (1,), 2**70),
        ((4,), (-1,), 3),
        ((-4,), (1,), 0),
        ((4,), (1,), -1),
        ((2, 2), (1,), 0),
        ((4.0,), (1,), 0),
        ((True,), (1,), 0),
        ((2**40, 2**40), (0, 0), 0),
        ((0, 2**70), (1, 1), 0),
        ((1,) * 100, (0,) * 100, 0),
        ([4], [1], 0),
    ],
)
def test_tensors_cannot_reach_out_of_their_storage(write, shape, strides, offset):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    tree = {"weight": Call(rebuild, STORAGE, offset, shape, strides, False, OrderedDict())}
    with pytest.raises(WeightsError):
        read_weights(write(Archive(torch_pickle(tree), {"0": RAW})))


def test_an_untyped_storage_is_bounded_in_bytes(write):
    def archive(numel: int) -> Archive:
        rebuild = Global("torch._utils", "_rebuild_tensor_v3")
        storage = FakeStorage("0", "storage.UntypedStorage", 16)
        arguments = (storage, 0, (numel,), (1,), False, OrderedDict(), Global("torch", "uint16"))
        return Archive(torch_pickle({"weight": Call(rebuild, *arguments)}), {"0": bytes(range(16))})

    np.testing.assert_array_equal(read_weights(write(archive(8)))["weight"], np.frombuffer(bytes(range(16)), "<u2"))
    with pytest.raises(WeightsError, match="reaches out of its storage '0' of 16 bytes"):
        read_weights(write(archive(9)))


@pytest.mark.parametrize(
    "persistent_id",
    [
        b"X\7\0\0\0storage\x85",
        b"(X\6\0\0\0module" + b"N" * 4 + b"t",
        b"(X\7\0\0\0storagectorch\nfloat32\nK\0X\3\0\0\0cpuK\4t",
        b"(X\7\0\0\0storagectorch\nfloat32\nX\1\0\0\x000X\3\0\0\0cpuJ\xff\xff\xff\xfft",
        b"(X\7\0\0\0storageNX\1\0\0\x000X\3\0\0\0cpuK\4t",
        b"(X\7\0\0\0storagectorch\nfloat32\nX\1\0\0\x000X\3\0\0\0cpuK\4(X\1\0\0\x001K\0K\2tt",
    ],
)
def test_persistent_ids_other_than_storages_are_refused(persistent_id):
    with pytest.raises(FormatError):
        run(persistent_id + b"Q.")


def test_a_storage_key_cannot_leave_the_archive(write, tmp_path):
    (tmp_path / "secret").write_bytes(RAW)
    tree = {"weight": tensor(FakeStorage("../../../secret", "FloatStorage", 4), (4,), (1,))}
    with pytest.raises(WeightsError, match="has no entry"):
        read_weights(write(Archive(torch_pickle(tree), {})))
