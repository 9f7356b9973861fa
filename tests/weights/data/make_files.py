"""Makes the small files beside it, with real PyTorch and safetensors: run in the parity environment.

The tests know what is in them from `numbers`: every tensor counts up from 0 in its own type.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "bool": torch.bool,
}


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1, 2, ... in a shape."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


def views() -> dict[str, torch.Tensor]:
    """Tensors that share a storage of 24 numbers, and odd shapes."""
    base = numbers(4, 6)
    return {
        "base": base,
        "transposed": base.T,
        "column": base[:, 2],
        "block": base[1:3, 1:4],
        "tail": base[3],
        "expanded": numbers(3).expand(2, 3),
        "channels_last": numbers(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
    }


def save(name: str, thing: object, legacy: bool = False) -> None:
    """Writes one file."""
    torch.save(thing, HERE / name, _use_new_zipfile_serialization=not legacy)


def main() -> None:
    """Writes all files."""
    layer = torch.nn.Linear(3, 2)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    layer(numbers(1, 3)).sum().backward()
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.step()
    state = OrderedDict(weight=numbers(2, 3), bias=numbers(2))

    dtypes = {name: numbers(2, 3, dtype=dtype) for name, dtype in DTYPES.items()}
    save("dtypes.pth", dtypes)
    save("views.pth", views())
    save("views_legacy.pth", views(), legacy=True)
    save("dtypes_legacy.pth", dtypes, legacy=True)
    save("state_dict.pth", torch.nn.BatchNorm1d(2).state_dict())
    save("parameters.pth", dict(layer.named_parameters()))
    save("checkpoint.pth", {"epoch": 3, "arch": "linear", "state_dict": state, "optimizer": optimizer.state_dict()})
    save("args.pth", {"model": state, "args": argparse.Namespace(lr=0.1)})
    save("module.pth", layer)
    save("quantised.pth", {"weight": torch.quantize_per_tensor(numbers(3), 0.1, 0, torch.qint8)})
    save("sparse.pth", {"weight": numbers(3).to_sparse()})
    save("float8.pth", {"weight": numbers(3).to(torch.float8_e4m3fn)})
    save("conjugated.pth", {"weight": numbers(3, dtype=torch.complex64).conj()})
    torch.jit.script(layer).save(HERE / "script.pt")

    save_file(dtypes, HERE / "dtypes.safetensors")
    save_file({"weight": numbers(3).to(torch.float8_e4m3fn)}, HERE / "float8.safetensors")


if __name__ == "__main__":
    main()
