"""The environment of a Python process that runs this library."""

from __future__ import annotations

import os
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]  # the folder MedLLMSegLib


def own_environment(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Python finds this very library, and nothing in the current folder by accident.

    environment: what to start from; None for this process's. PYTORCH_ENABLE_MPS_FALLBACK lets the
    CPU do what torch lacks on Apple's GPU, such as some 3D kernels; torch reads it on import.
    """
    inherited = dict(os.environ if environment is None else environment)
    old_path = inherited.get("PYTHONPATH")
    path = os.pathsep.join([str(LIBRARY.parent), *([old_path] if old_path else [])])
    fallback = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    return {**fallback, **inherited, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
