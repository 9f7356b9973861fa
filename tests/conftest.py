import os
from collections.abc import Iterator

import jax
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.compiled import as_users_do

# Small networks run in no time; most of their tests' is XLA's, which halves without its optimisations. What is about
# them, about speed or about real weights is compiled with them: fixture `optimised`. Processes inherit the choice.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)

TOGETHER = {
    "tests/experiment/": "a finished run",
    "tests/training/test_parallel.py": "runs of several devices",
    "tests/training/test_distributed.py": "runs of several devices",
    "tests/uncertainty/test_lite0.py": "features of real weights",
    "tests/weights/test_fuzz.py": "files to damage",
}
"""Files and folders of tests, and what they share that takes long to make."""


class OneWorkerForWhatIsShared(LoadScopeScheduling):
    """Sends tests that share something to one process, and others wherever one is free.

    xdist's own groups (``--dist loadgroup``) do nothing with pytest 9.2, which has no ``_nodeid`` to mark them in.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((shared for path, shared in TOGETHER.items() if nodeid.startswith(path)), nodeid)


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return OneWorkerForWhatIsShared(config, log)


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    with as_users_do():
        yield
