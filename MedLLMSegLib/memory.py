"""Whether a model fits this computer's memory: a rough estimate, said as such; what a process has used; what to say where
there was not enough of it (no torch)."""
from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

from .catalogue import METADATA, ModelEntry
from .errors import UserError

# Measured on Linux, CPU, two threads: 0.65 GB with torch and monai imported, 1.03 GB at most while hippocampus-t1 0.2.0
# segmented a head of 197 x 233 x 189 voxels. FEATURE_COPIES float32 copies of a window's widest feature map account for the rest.
BASE_GB = 0.65
FEATURE_COPIES = 4
WINDOW = (96, 96, 96)  # where a bundle's metadata names none
CHANNELS = 16  # of the first stage, likewise

NOT_ENOUGH = "There was not enough memory for this; close other programs and scans and try again, or use a smaller scan."
# As CUDA and MPS, cuBLAS, torch's CPU allocator (Linux, Windows) and MONAI put it.
SIGNS = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory", "seems to be oom")


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be chosen. fits_memory: True also where the free memory is not known. memory_text: in words."""

    entry: ModelEntry
    fits_memory: bool
    memory_text: str


def model_choice(entry: ModelEntry) -> ModelChoice:
    """A model with whether it fits the memory that is free now."""
    needed, free = needed_gb(entry), free_gb()
    if free is None:
        return ModelChoice(entry, True, f"needs about {needed:.1f} GB of memory")
    return ModelChoice(entry, needed <= free, f"needs about {needed:.1f} GB of memory, this computer has {free:.1f} GB free")


def needed_gb(entry: ModelEntry) -> float:
    """Memory for one scan of usual size, in GB: the packages, the weights as float32, and one window's features."""
    about = _metadata(entry)
    if entry.kind == "classifier":
        return BASE_GB + (3 * entry.size_mb * 1e6 + 8 * _frozen(about)) / 1e9  # a flat image's features are negligible
    return BASE_GB + (3 * entry.size_mb * 1e6 + _features(about)) / 1e9  # weights: as read, as float32, and room to convert


def _features(about: dict) -> float:
    """Bytes of one window's features; the usual where the metadata are damaged, which is said when the model is loaded."""
    try:
        # Crops around an organ go through the network whole, whatever the training's window was.
        window = None if about.get("anatomy") else (about.get("preprocessing") or {}).get("window")
        stages = (about.get("network") or {}).get("stem_channels") or [CHANNELS]
        return 4.0 * prod(map(float, window or WINDOW)) * max(float(stages[0]), 1) * FEATURE_COPIES
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
        return 4.0 * prod(WINDOW) * CHANNELS * FEATURE_COPIES


def _frozen(about: dict) -> int:
    """Parameters of a language model that are not among a bundle's weights: as float32, and once more while they are read."""
    parts = about.get("parameters")
    count = parts.get("frozen") if isinstance(parts, dict) else None
    return count if isinstance(count, int) else 0


def _metadata(entry: ModelEntry) -> dict:
    try:
        data = json.loads((Path(entry.folder) / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the computer's or a GPU's memory ran out.

    Of torch's errors most are plain RuntimeErrors, known by their text; only CUDA has a type of its own for it.
    """
    said = isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def free_gb() -> float | None:
    """Memory that programs can still have, in GB; all of it on macOS, which gives it on request; None if not known."""
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

    names = ("length", "load", "total", "free", "totalPage", "freePage", "totalVirtual", "freeVirtual", "freeExtended")
    kind = type("MemoryStatus", (ctypes.Structure,), {"_fields_": [
        (name, ctypes.c_ulong if n < 2 else ctypes.c_ulonglong) for n, name in enumerate(names)]})
    status = kind(length=ctypes.sizeof(kind))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return status.free / 1e9


def peak_mb() -> float:
    """Largest resident size of this process so far, in MB of 10^6 bytes. Raises `UserError` where the system does not tell.

    Linux's getrusage would count the size of the process that started this one, so its status file is read instead.
    """
    if sys.platform.startswith("linux"):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6
    try:
        import resource
    except ImportError as error:
        raise UserError("Memory cannot be measured on this system; use Linux or macOS.") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
