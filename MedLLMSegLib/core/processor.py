"""The name and kind of this computer's processor. No torch."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# What tells processors of one name apart: on x86, and on ARM, where there is no name at all
_NUMBERS = ("cpu family", "model", "stepping", "CPU implementer", "CPU part")


def processor_name() -> str:
    """The processor's name, such as "AMD EPYC 9654 96-Core Processor"."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def processor_model() -> str:
    """The name, and on Linux the maker's numbers too: virtual machines give many processors the
    same name.
    """
    info = _cpu_info()
    numbers = [f"{field} {info[field]}" for field in _NUMBERS if field in info]
    return ", ".join([processor_name(), *numbers])


def is_arm() -> bool:
    """Whether the processor is a 64-bit ARM."""
    return platform.machine().lower() in ("aarch64", "arm64")


@cache
def _cpu_info() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; {} on other systems."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return {}
    first = text.partition("\n\n")[0].splitlines()
    fields = (line.partition(":") for line in first)
    return {name.strip(): value.strip() for name, _, value in fields}
