"""Whether a model fits this computer's memory: a rough estimate, said as such (no torch)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from MedLLMSegLib.core.memory import free_gb

from .catalogue import METADATA, ModelEntry

# Measured on Linux, CPU, two threads: 0.65 GB with torch and monai imported, 1.03 GB at most while
# hippocampus-t1 0.2.0 segmented a head of 197 x 233 x 189 voxels. FEATURE_COPIES float32 copies of
# a window's widest feature map account for the rest.
BASE_GB = 0.65
FEATURE_COPIES = 4
WINDOW = (96, 96, 96)  # where a bundle's metadata names none
CHANNELS = 16  # of the first stage, likewise


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be chosen. fits_memory: True also where the free memory is not known.
    memory_text: in words.
    """

    entry: ModelEntry
    fits_memory: bool
    memory_text: str


def model_choice(entry: ModelEntry) -> ModelChoice:
    """A model with whether it fits the memory that is free now."""
    needed, free = needed_gb(entry), free_gb()
    if free is None:
        return ModelChoice(entry, True, f"needs about {needed:.1f} GB of memory")
    return ModelChoice(
        entry,
        needed <= free,
        f"needs about {needed:.1f} GB of memory, this computer has {free:.1f} GB free",
    )


def needed_gb(entry: ModelEntry) -> float:
    """Memory for one scan of usual size, in GB: the packages, the weights as float32, and one
    window's features.
    """
    about = _metadata(entry)
    if entry.kind == "classifier":
        return (
            BASE_GB + (3 * entry.size_mb * 1e6 + 8 * _frozen(about)) / 1e9
        )  # a flat image's features are negligible
    return (
        BASE_GB + (3 * entry.size_mb * 1e6 + _features(about)) / 1e9
    )  # weights: as read, as float32, and room to convert


def _features(about: dict) -> float:
    """Bytes of one window's features; the usual where the metadata are damaged, which is said
    when the model is loaded.
    """
    try:
        # Crops around an organ go through the network whole, whatever the training's window was.
        window = None if about.get("anatomy") else (about.get("preprocessing") or {}).get("window")
        stages = (about.get("network") or {}).get("stem_channels") or [CHANNELS]
        return 4.0 * prod(map(float, window or WINDOW)) * max(float(stages[0]), 1) * FEATURE_COPIES
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
        return 4.0 * prod(WINDOW) * CHANNELS * FEATURE_COPIES


def _frozen(about: dict) -> int:
    """Parameters of a language model that are not among a bundle's weights: as float32, and once
    more while they are read.
    """
    parts = about.get("parameters")
    count = parts.get("frozen") if isinstance(parts, dict) else None
    return count if isinstance(count, int) else 0


def _metadata(entry: ModelEntry) -> dict:
    try:
        data = json.loads((Path(entry.folder) / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
