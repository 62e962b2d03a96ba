"""Free and used memory, and errors that say it ran out."""

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
