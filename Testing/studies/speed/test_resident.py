"""The memory of a process as Linux states it."""

import os
import subprocess
import sys

import pytest

from MedLLMSegLib.studies.speed.resident import (
    read_status,
    resident_mib,
)
from MedLLMSegLib.studies.speed.row import NotMeasured

MEASURE = """
import numpy as np
from MedLLMSegLib.studies.speed.resident import forget_peak, now_mib, peak_mib

forget_peak()
before = now_mib()
block = np.ones(64 << 20, np.uint8)
print(now_mib() - before)
del block
print(peak_mib() - before, now_mib() - before)
forget_peak()
print(peak_mib() - before)
"""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
STATUS = "Name:\tpython\nVmPeak:\t 9000000 kB\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n"


def test_fields_are_read_in_mib():
    assert resident_mib(STATUS, "VmHWM") == 200.0
    assert resident_mib(STATUS, "VmRSS") == 100.0


@pytest.mark.parametrize("text", ("", "Name:\tzombie\n", "VmHWM:\t 1 MB\n"))
def test_a_process_without_the_field_is_not_measured(text):
    with pytest.raises(NotMeasured):
        resident_mib(text, "VmHWM")


def test_a_process_that_ended_is_not_measured():
    with pytest.raises(NotMeasured, match="Linux"):
        read_status(2**22 + 1)


@LINUX
def test_the_peak_of_freed_memory_is_seen_and_forgotten():
    """In a process of its own: one that has run many tests holds memory that it may use again."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    held, peak, freed, forgotten = (float(word) for word in done.stdout.split())
    assert held > 50
    assert peak > 50
    assert freed < 40
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert forgotten < 40
