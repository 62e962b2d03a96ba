"""The resident memory of a process, as Linux states it in /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .row import NotMeasured

MIB_IN_KIB = 1024.0
RESET_PEAK = "5"  # what proc(5) gives for clear_refs: the peak begins anew


def resident_mib(status: str, field: str) -> float:
    """A field of the text of /proc/PID/status in MiB: VmRSS is now, VmHWM the peak.

    Raises `NotMeasured` if it is not there, as for a process that has ended.
    """
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            number, unit = value.split()
            if unit != "kB":
                raise NotMeasured(f"{field} is in {unit}, and kB is needed")
            return int(number) / MIB_IN_KIB
    raise NotMeasured(f"this system states no {field}")


def read_status(pid: int | str = "self") -> str:
    """The text of /proc/PID/status. Raises `NotMeasured` where there is none."""
    try:
        return Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError as error:
        raise NotMeasured("memory is measured on Linux alone") from error


def forget_peak() -> None:
    """Let the peak of this process begin at what it holds now, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")


def peak_mib(pid: int | str = "self") -> float:
    """The largest resident memory of a process so far."""
    return resident_mib(read_status(pid), "VmHWM")


def now_mib(pid: int | str = "self") -> float:
    """The resident memory of a process now."""
    return resident_mib(read_status(pid), "VmRSS")
