"""What the network saw of a structure: the prepared array, and the voxels to be explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.segmenter_settings import window_for
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.outlines import in_body_order, outlines_of
from MedLLMSegLib.segmentation.prepare import Preparation, prepare
from MedLLMSegLib.segmentation.result_maps import OutputRequest

from .asked import Asked
from .target import Place, Target, target_of


@dataclass(frozen=True, eq=False)
class Seen:
    """array: float32 [k, j, i], as the network got it in its last look. target: on the same grid.
    window: the voxels (k, j, i) of one pass. notes: of the run that outlined it.
    """

    array: NDArray[np.float32]
    target: Target
    window: Triple
    notes: tuple[str, ...] = ()


def seen_of(
    volume: Volume, asked: Asked, place: Place, model: SegmenterModel, progress: Progress
) -> Seen:
    """Outline a scan as `segment` does, and keep what the network saw.

    Raises `UserError` where the structure was not found.
    """
    _order, ordered = in_body_order(volume, model)
    request = OutputRequest(ordered.grid)
    outlines, notes = outlines_of(ordered, model, asked.side, request, progress)
    target = target_of(outlines[0], model, asked, place, volume.name)
    array, _way_back = prepare(
        ordered, target.grid, *Preparation.from_settings(model.settings).scales
    )
    window = window_for(model.settings, target.grid.shape)
    return Seen(array, target, window, (*volume.notes, *notes, *model.notes))
