"""What the golden vectors cover; each family's cases are a module of its name, with its logits in ``golden``."""

import importlib
import pkgutil

from tests.reference.cases.case import Case


def families() -> dict[str, tuple[Case, ...]]:
    """The cases of every family that has any."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {m.__name__.rpartition(".")[2]: m.CASES for m in modules if hasattr(m, "CASES")}
