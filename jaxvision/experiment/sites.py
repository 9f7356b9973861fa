"""From the settings of injected dropout to a network with sites."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import uncertainty as uq
from jaxvision.experiment.injection import InjectionOptions
from jaxvision.experiment.network import Network
from jaxvision.training.config import ConfigError
from jaxvision.training.losses import Task


def inject(network: Network, task: Task, options: InjectionOptions, of: Any = None) -> uq.Net:
    """A network with the sites that the settings name.

    Args:
        network: the network.
        task: what its outputs are.
        options: sites, mask, place.
        of: a view of the network's model that takes pooled features.

    Raises:
        PatternError: a pattern selects no module; the nearest paths are listed.
        SiteError: a module is not run by a pass, or the mask cannot be applied there.
        ValueError: wrong settings.
    """
    example = None if of is None else jax.ShapeDtypeStruct((2, network.model.head_hidden_size), jnp.float32)
    return uq.inject(
        network.model if of is None else of,
        options.sites,
        mask=options.mask,
        at=options.at,
        shared=options.shared,
        task=task.name,
        example=example,
    )


def in_classifier(net: uq.Net, network: Network) -> bool:
    """Whether all sites lie in the classifier, so that the rest of the network need run only once a picture."""
    return all(
        any(site.path == path or site.path.startswith(f"{path}.") for path in network.classifiers)
        for site in net.plan.sites
    )


def checked_rates(options: InjectionOptions, task: Task) -> Sequence[float]:
    """The rates to try, if the settings make sense: to be asked before hours of passes, not after.

    Raises:
        ConfigError: they do not.
    """
    if options.rate is not None and options.rates:
        raise ConfigError("--rate takes one dropout rate and --rates tries several: give one of them")
    rates = (options.rate,) if options.rate is not None else options.rates or uq.RATES
    if not all(0 < rate < 1 for rate in rates):
        raise ConfigError(f"dropout rates lie between 0 and 1, got {', '.join(f'{rate:g}' for rate in rates)}")
    if options.samples < 2:
        raise ConfigError(f"--samples must be at least 2, got {options.samples}")
    if options.alpha is not None and not 0 < options.alpha < 1:
        raise ConfigError(f"--alpha is a probability between 0 and 1, got {options.alpha:g}")
    if options.alpha is not None and task.name == "multilabel":
        raise ConfigError("--alpha makes sets that hold the one true class: not for several labels")
    return rates
