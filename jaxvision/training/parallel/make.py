"""Choosing a driver."""

from collections.abc import Sequence

import jax

from jaxvision.paths import suggestion
from jaxvision.training.parallel.driver import Driver
from jaxvision.training.parallel.jit import JitDriver
from jaxvision.training.parallel.mapped import PmapDriver, ShardMapDriver
from jaxvision.training.parallel.placement import Rules

_DRIVERS: dict[str, type[Driver]] = {"jit": JitDriver, "pmap": PmapDriver, "shard_map": ShardMapDriver}


def make_driver(
    name: str = "jit", *, fsdp: int = 1, rules: Rules | None = None, devices: Sequence[jax.Device] | None = None
) -> Driver:
    """A driver for the devices of all processes.

    Args:
        name: ``"jit"``, ``"shard_map"`` or ``"pmap"``.
        fsdp: over how many devices each parameter is sharded (``jit`` only); 1 replicates them.
        rules: where a parameter is not to go by the default (see `placement.state_shardings`), by patterns of names;
            ``jit`` only. The axes of the mesh are ``data`` and, with ``fsdp`` > 1, ``fsdp``.
        devices: which devices; all by default.

    Raises:
        ValueError: there is no such driver, it cannot do what is asked, ``fsdp`` does not divide the number of devices,
            or ``pmap`` on several processes.
    """
    devices = jax.devices() if devices is None else list(devices)
    if name not in _DRIVERS:
        raise ValueError(f"no driver {name!r}{suggestion(name, _DRIVERS)}; there are {', '.join(_DRIVERS)}")
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(f"fsdp is {fsdp}, which does not divide the number of devices, {len(devices)}")
    if name == "jit":
        return JitDriver(devices, fsdp, rules)
    if fsdp > 1 or rules:
        raise ValueError(f"{name} replicates parameters: fsdp and rules need the driver 'jit'")
    if name == "pmap" and jax.process_count() > 1:
        raise ValueError(f"pmap is for one process, and there are {jax.process_count()}: use 'jit' or 'shard_map'")
    return _DRIVERS[name](devices)
