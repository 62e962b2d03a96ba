"""Whether a model fits this computer's memory: a rough estimate (no torch)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from MedLLMSegLib.core.memory import free_memory_gb
from MedLLMSegLib.core.types import Json

from .catalogue import METADATA, ModelEntry
from .segmenter_settings import WINDOW

# Measured on Linux, CPU, two threads: 0.65 GB with torch and monai imported, 1.03 GB at most while
# hippocampus-t1 0.2.0 segmented a head of 197 x 233 x 189 voxels. FEATURE_COPIES float32 copies of
# a window's widest feature map account for the rest.
BASE_GB = 0.65
FEATURE_COPIES = 4
CHANNELS = 16  # of the first stage, where a bundle's metadata name none


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be chosen. fits_memory: also True where the free memory is not known.
    memory_text: needed and free memory, for the user.
    """

    entry: ModelEntry
    fits_memory: bool
    memory_text: str


def model_choice(entry: ModelEntry) -> ModelChoice:
    """A model, with whether it fits the memory that is free now."""
    needed = needed_gb(entry)
    free = free_memory_gb()
    if free is None:
        return ModelChoice(entry, True, f"needs about {needed:.1f} GB of memory")
    return ModelChoice(
        entry,
        needed <= free,
        f"needs about {needed:.1f} GB of memory, this computer has {free:.1f} GB free",
    )


def needed_gb(entry: ModelEntry) -> float:
    """Memory for one scan of usual size, in GB: packages, weights, and the features of one
    window.
    """
    metadata = _read_metadata(entry)
    weights = 3 * entry.size_mb * 1e6  # as read, as float32, and room to convert
    if entry.kind == "classifier":  # the features of a flat image are negligible
        frozen = 8 * _frozen_parameters(metadata)  # as float32, twice while they are read
        return BASE_GB + (weights + frozen) / 1e9
    return BASE_GB + (weights + _feature_bytes(metadata)) / 1e9


def _feature_bytes(metadata: Json) -> float:
    """Bytes of the features of one window. Damaged metadata give the usual figure here; loading
    the model reports them.
    """
    try:
        window = (metadata.get("preprocessing") or {}).get("window")
        if metadata.get("anatomy"):  # a crop around an organ goes through the network in one piece
            window = None
        stages = (metadata.get("network") or {}).get("stem_channels") or [CHANNELS]
        return _float32_bytes(map(float, window or WINDOW), max(float(stages[0]), 1))
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
        return _float32_bytes(WINDOW, CHANNELS)


def _float32_bytes(window: Iterable[float], channels: float) -> float:
    """Bytes of `FEATURE_COPIES` feature maps of a window."""
    return 4.0 * prod(window) * channels * FEATURE_COPIES


def _frozen_parameters(metadata: Json) -> int:
    """How many of the parameters are the language model's, and so are not among the weights."""
    parameters = metadata.get("parameters")
    count = parameters.get("frozen") if isinstance(parameters, dict) else None
    return count if isinstance(count, int) else 0


def _read_metadata(entry: ModelEntry) -> Json:
    """A bundle's metadata; {} where they cannot be read."""
    try:
        metadata = json.loads((Path(entry.folder) / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
