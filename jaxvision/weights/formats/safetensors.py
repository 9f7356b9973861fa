"""Safetensors files."""

from pathlib import Path

import ml_dtypes  # noqa: F401  (registers "bfloat16" with NumPy, by which safetensors finds it)
from safetensors import SafetensorError, safe_open

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.contents import Contents

_DTYPES = ("F64", "F32", "F16", "BF16", "C64", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def read_safetensors(path: Path) -> Contents:
    """Reads a ``.safetensors``; bfloat16 comes as `ml_dtypes.bfloat16`.

    Raises:
        FormatError: it is corrupt, or has a dtype that is none of NumPy's (8-bit floats and smaller).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            dtypes = {name: file.get_slice(name).get_dtype() for name in names}
            for name, dtype in dtypes.items():
                if dtype not in _DTYPES:
                    raise FormatError(f"its tensor {name!r} is of type {dtype}; only {', '.join(_DTYPES)} are read")
            return Contents({name: file.get_tensor(name) for name in names})
    except SafetensorError as error:
        raise FormatError(f"it is truncated or corrupt ({error})") from error
