"""How much memory is free, how much a process has used, and what to say where there was not
enough of it (no torch).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import UserError

OUT_OF_MEMORY_MESSAGE = (
    "There was not enough memory for this; close other programs and scans and try again, or use a"
    " smaller scan."
)
# As CUDA and MPS, cuBLAS, torch's CPU allocator (Linux, Windows) and MONAI put it.
SIGNS = (
    "out of memory",
    "alloc_failed",
    "can't allocate memory",
    "not enough memory",
    "seems to be oom",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the computer's or a GPU's memory ran out.

    Of torch's errors most are plain RuntimeErrors, known by their text; only CUDA has a type of its
    own for it.
    """
    said = isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def free_memory_gb() -> float | None:
    """Memory that programs can still have, in GB; all of it on macOS, which gives it on request;
    None if not known.
    """
    try:
        if sys.platform == "win32":
            return _free_on_windows()
        if os.path.exists("/proc/meminfo"):
            lines = Path("/proc/meminfo").read_text().splitlines()
            kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
            return kib * 1024 / 1e9
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (OSError, ValueError, StopIteration, AttributeError, IndexError):
        return None


def _free_on_windows() -> float | None:
    import ctypes

    names = (
        "length",
        "load",
        "total",
        "free",
        "totalPage",
        "freePage",
        "totalVirtual",
        "freeVirtual",
        "freeExtended",
    )
    kind = type(
        "MemoryStatus",
        (ctypes.Structure,),
        {
            "_fields_": [
                (name, ctypes.c_ulong if n < 2 else ctypes.c_ulonglong)
                for n, name in enumerate(names)
            ]
        },
    )
    status = kind(length=ctypes.sizeof(kind))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return status.free / 1e9


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB of 10^6 bytes. Raises `UserError` where
    the system does not tell.

    Linux's getrusage would count the size of the process that started this one, so its status file
    is read instead.
    """
    if sys.platform.startswith("linux"):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return (
            float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6
        )
    try:
        import resource
    except ImportError as error:
        raise UserError("Memory cannot be measured on this system; use Linux or macOS.") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )
