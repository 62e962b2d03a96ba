"""The memory of a process as Linux states it."""

import os
import sys

import numpy as np
import pytest

from MedLLMSegLib.studies.speed.resident import (
    forget_peak,
    now_mib,
    peak_mib,
    read_status,
    resident_mib,
)
from MedLLMSegLib.studies.speed.row import NotMeasured

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
    forget_peak()
    before = now_mib()
    block = np.ones(64 << 20, np.uint8)
    assert now_mib() - before > 50
    del block
    assert peak_mib(os.getpid()) - before > 50
    assert now_mib() - before < 40
    forget_peak()
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert peak_mib() - before < 40
