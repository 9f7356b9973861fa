"""Uncertainty for networks that are not `nnx.Module`s; each function gives the same `jaxvision.uncertainty.Net`.

`from_linen` for Flax Linen, `from_callable` for callable pytrees such as Equinox's modules, `from_function` for any
pure ``f(params, inputs)`` whose sites are marked in it by `drop`, or by layers wrapped with `mark`.
"""

from jaxvision.uncertainty.adapters.function import from_function
from jaxvision.uncertainty.adapters.layers import from_callable, mark
from jaxvision.uncertainty.adapters.linen import from_linen
from jaxvision.uncertainty.adapters.marks import drop

__all__ = ["drop", "from_callable", "from_function", "from_linen", "mark"]
