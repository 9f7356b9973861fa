"""Running one training step on many devices: `make_driver` and its three drivers.

The step is a pure function and knows nothing of devices; a driver places what goes in and compiles. ``jit`` is the
default, scales to any number of hosts and is the only one that shards parameters. ``shard_map`` and ``pmap`` map the
step over one axis by hand: a model with batch normalisation must go through `jaxvision.nn.norm.set_axis_name` first,
and random masks and mixing are then drawn per device, from keys that differ.
"""

from jaxvision.training.parallel.driver import Driver
from jaxvision.training.parallel.make import make_driver

__all__ = ["Driver", "make_driver"]
