"""Freed memory is kept, measured by the pages that the kernel has to hand out again."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

PROGRAM = """
import ctypes, resource, sys
import numpy as np
from jaxvision.cli.memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(pages)
"""
PAGES = 2**24 * 8 // os.sysconf("SC_PAGE_SIZE")


def pages(*words, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    # NumPy asks for huge pages, of which there are few.
    environment = {**clean, "NUMPY_MADVISE_HUGEPAGE": "0", **environment}
    command = [sys.executable, "-c", PROGRAM, *words]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_what_is_freed_is_kept():
    assert pages("keep") < PAGES / 10
    assert pages() > PAGES / 2


def test_the_users_own_choice_stands():
    assert pages("keep", MALLOC_TOP_PAD_="65536") > PAGES / 2
