"""Free and used memory, and errors that say it ran out."""

import os
import platform
import subprocess
import sys

import pytest

from MedLLMSegLib.core import memory


@pytest.mark.parametrize(
    "error, full",
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("Allocation on device"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error, full):
    assert memory.is_out_of_memory(error) is full


def test_free_memory_of_this_computer():
    free = memory.free_memory_gb()
    assert free is None or 0.01 < free < 1e5
    if sys.platform.startswith("linux"):
        assert free is not None


def test_the_peak_is_at_least_what_was_held():
    before = memory.peak_memory_mb()
    ballast = bytearray(80_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])  # so that every page is really there
    assert memory.peak_memory_mb() >= max(before, 80)


PAGES_OF_TEN_ARRAYS = """
import resource
import numpy as np
from MedLLMSegLib.core.memory import reuse_freed_memory

for remedy in (False, True):
    if remedy:
        reuse_freed_memory()
        np.ones(400_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(400_000)  # 3.2 MB: for larger ones numpy asks for huge pages
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_a_worker_of_dask_keeps_what_it_frees_for_its_next_arrays():
    said = subprocess.run(
        [sys.executable, "-c", PAGES_OF_TEN_ARRAYS],
        env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"},  # as dask sets it
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    as_dask_left_it, afterwards = map(int, said)
    assert as_dask_left_it > 10 * 3_200_000 / 4096 / 2  # each array's pages anew
    assert afterwards < as_dask_left_it / 10
