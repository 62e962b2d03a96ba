"""Which device Automatic will use, found without importing torch: from files of the system and of
installed packages.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .translation import _

NVIDIA = Path("/proc/driver/nvidia/gpus")


def found_device(gpus: Path = NVIDIA) -> str:
    """A few words for the panel's list, such as "NVIDIA H200" or "CPU, 8 cores"."""
    cores = _("CPU, {count} cores").format(count=os.cpu_count() or 1)
    if sys.platform == "darwin":
        return _("Apple GPU") if platform.machine() == "arm64" else cores
    gpu = _nvidia(gpus)
    if gpu and _is_cpu_build():
        return _("CPU; PyTorch cannot use the GPU")  # its CPU build is installed
    return gpu or cores


def _nvidia(gpus: Path) -> str:
    """The name of an NVIDIA GPU, where a driver is installed; "" without one."""
    for path in sorted(gpus.glob("*/information")):
        if found := re.search(
            r"^Model:\s*(.+?)\s*$", path.read_text(errors="replace"), re.MULTILINE
        ):
            return found[1]
    return _("NVIDIA GPU") if sys.platform == "win32" and shutil.which("nvidia-smi") else ""


def _is_cpu_build() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:  # the PyTorch extension will install what fits the GPU
        return False
