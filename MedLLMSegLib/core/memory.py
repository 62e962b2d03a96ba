"""Free memory, the memory that this process has used, and errors that say it ran out. No torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import UserError

# of glibc's malloc.h; the sizes are those that it would come to by itself
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 32 * 2**20  # bytes

OUT_OF_MEMORY_MESSAGE = (
    "There was not enough memory for this; close other programs and scans and try again, or use a"
    " smaller scan."
)
# In the error texts of CUDA and MPS, cuBLAS, torch's CPU allocator (Linux, Windows) and MONAI
OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "alloc_failed",
    "can't allocate memory",
    "not enough memory",
    "seems to be oom",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the computer or of a GPU ran out.

    Most of torch's errors are plain RuntimeErrors and are known by their text. Only CUDA has an
    error type of its own for it.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(p in text for p in OUT_OF_MEMORY_PHRASES)


def reuse_freed_memory() -> None:
    """Let this process keep what it frees for its next arrays, where its parent forbade that.

    dask starts its workers with MALLOC_TRIM_THRESHOLD_, after which glibc gives each array back to
    the system and asks for every page anew: half of a scan's time. Without effect elsewhere.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    import ctypes

    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc
        return
    set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
    set_option(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT)


def free_memory_gb() -> float | None:
    """Memory that programs can still get, in GB; None if unknown.

    On macOS this is all of the memory, because the system frees it on demand.
    """
    return _memory_gb("free", "MemAvailable:")


def total_memory_gb() -> float | None:
    """The computer's memory, in GB; None if unknown."""
    return _memory_gb("total", "MemTotal:")


def _memory_gb(windows_field: str, linux_field: str) -> float | None:
    """One figure under its name on Windows and on Linux; all of the memory on other systems."""
    try:
        if sys.platform == "win32":
            return _gb_on_windows(windows_field)
        if os.path.exists("/proc/meminfo"):
            return _kib_in_proc_file("/proc/meminfo", linux_field) * 1024 / 1e9
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (OSError, ValueError, StopIteration, AttributeError, IndexError):
        return None


def _kib_in_proc_file(path: str, field: str) -> int:
    """A value in KiB from one of Linux's status files. Raises StopIteration without the field."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def _gb_on_windows(field: str) -> float | None:
    import ctypes

    class MemoryStatus(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("free", ctypes.c_ulonglong),
            ("total_page", ctypes.c_ulonglong),
            ("free_page", ctypes.c_ulonglong),
            ("total_virtual", ctypes.c_ulonglong),
            ("free_virtual", ctypes.c_ulonglong),
            ("free_extended", ctypes.c_ulonglong),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009 (mypy knows windll on Windows only)
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(getattr(status, field)) / 1e9


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB of 10^6 bytes.

    Raises `UserError` where the system does not provide it. On Linux the status file is read,
    because getrusage would include the size of the process that started this one.
    """
    if sys.platform.startswith("linux"):
        return _kib_in_proc_file("/proc/self/status", "VmHWM:") * 1024 / 1e6
    try:
        import resource
    except ImportError as error:
        raise UserError("Memory cannot be measured on this system; use Linux or macOS.") from error
    units_per_mb = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mb
