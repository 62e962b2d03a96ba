"""`explain`: where in a scan the evidence for one outlined structure lies."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import inside_mask
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.segmentation.inference import cpu_fallback_stage, free_memory, memory_notes
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.precision import AUTO
from MedLLMSegLib.segmentation.region import Region

from .asked import Asked, asked_structures
from .grad_cam import CamSettings
from .layer_choice import settings_for
from .seen import seen_of
from .target import Place, Target
from .where import Whereabouts, whereabouts
from .whole_evidence import whole_evidence


@dataclass(frozen=True, eq=False)
class Explanation:
    """What `explain` returns.

    evidence: float32 [k, j, i] on the scan's own grid: 1 where the evidence for the structure is
    strongest, 0 where there is none or where it speaks against. region: uint8 [k, j, i], the voxels
    that are explained. asked: the structures. layer, way: see `CamSettings`. where: how the
    evidence is spread. windows: that the network looked through. notes: sentences for the user.
    seconds: wall time.
    """

    evidence: Volume
    region: Volume
    asked: Asked
    model: str
    layer: str
    way: str
    where: Whereabouts
    windows: int = 1
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def structure(self) -> str:
        """The name of what is explained."""
        return self.asked.title

    @property
    def shown_structure(self) -> Structure:
        """The structure as it is drawn, in the colour of its first part."""
        return replace(self.asked.structures[0], name=self.structure)

    def facts(self) -> str:
        """Model, layer and windows in one line."""
        windows = "" if self.windows == 1 else f", {self.windows} windows"
        return f"model {self.model}, layer {self.layer}, weighed by {self.way}{windows}"

    def sentences(self) -> tuple[str, ...]:
        """What was measured of the map, a warning where it says little, and the notes."""
        return tuple(filter(None, (self.where.warning(), self.where.sentence(), *self.notes)))


def explain(
    volume: Volume,
    structure: str,
    model: str | Path | SegmenterModel = DEFAULT_SEGMENTER,
    *,
    box: Region | None = None,
    point_ras: tuple[float, float, float] | None = None,
    settings: CamSettings | None = None,
    device: str = "auto",
    precision: str = AUTO,
    progress: Report | None = None,
) -> Explanation:
    """Say where in a scan the evidence for a structure lies, by Grad-CAM (see `grad_cam`).

    volume: a 3D scan of any orientation and spacing. structure: a name with its side, such as "left
    hippocampus" (see `asked_structures`). model: an id, a bundle's folder, or what `load_model`
    returned. box, point_ras: explain only the part of the structure inside a box, or the logit
    within 2 mm of a point (RAS mm); None for all of it. settings: the layer and the way; None for
    those that were best on val. device, precision: as for `segment`; the gradient is always
    computed in fp32. progress: called with (stage, fraction done); may raise `Cancelled`.

    The scan is outlined as by `segment`, and then goes through the network once more for the
    gradient. Raises `UserError` for a structure that the model does not know or did not find.
    """
    began = time.monotonic()
    place = Place(box, point_ras)
    check_scan(volume)
    reporter = Progress.of(progress)
    reporter("load", 0.0)
    if not isinstance(model, SegmenterModel):
        model = load_model(model, device, precision)
    elif precision != AUTO:
        model = model.with_precision(precision)
    if model.channels:
        raise UserError(
            f'The model "{model.entry.id}" takes {len(model.channels)} images of a patient, and'
            " only models of one image can be explained yet."
        )
    asked = asked_structures(structure, volume, model)
    request = _Request(volume, asked, place, settings or settings_for(model))
    explanation = _run_where_it_fits(request, model, reporter)
    reporter("done", 1.0)
    return replace(explanation, seconds=time.monotonic() - began)


@dataclass(frozen=True, eq=False)
class _Request:
    volume: Volume
    asked: Asked
    place: Place
    settings: CamSettings


def _run_where_it_fits(request: _Request, model: SegmenterModel, progress: Progress) -> Explanation:
    """Explain, on the CPU where the GPU could not do it; a note says so."""
    stages: list[str] = []
    try:
        return _run(request, model, progress)
    except RuntimeError as error:
        fallback = cpu_fallback_stage(error)
        if model.device.type == "cpu" or fallback is None:
            raise
        stages.append(fallback)
    free_memory(model.device)
    progress(stages[0], 0.0)
    explanation = _run(request, replace(model, device=torch.device("cpu")), progress)
    notes = (*explanation.notes, *memory_notes(stages, model.device))
    return replace(explanation, notes=notes)


def _run(request: _Request, model: SegmenterModel, progress: Progress) -> Explanation:
    volume, asked = request.volume, request.asked
    outlining, explaining = progress.part(0.0, 0.6), progress.part(0.6, 1.0)
    seen = seen_of(volume, asked, request.place, model, outlining)
    target = seen.target
    found = whole_evidence(
        model.network,
        seen.array,
        target.question(),
        seen.window,
        request.settings,
        model.device,
        explaining,
    )
    positive = np.maximum(found.values, 0)
    strongest = float(positive.max())
    evidence = positive / np.float32(strongest) if strongest > 0 else positive
    return Explanation(
        evidence=volume.with_array(_on_scan(evidence, target, volume), f"{volume.name} evidence"),
        region=volume.with_array(
            (_on_scan(target.region.astype(np.float32), target, volume) >= 0.5).astype(np.uint8),
            f"{volume.name} explained region",
        ),
        asked=asked,
        model=model.entry.id,
        layer=request.settings.layer,
        way=request.settings.way,
        where=whereabouts(evidence, target.region, target.grid),
        windows=found.windows,
        notes=(*seen.notes, *_nothing_found(strongest)),
    )


def _nothing_found(strongest: float) -> tuple[str, ...]:
    if strongest > 0:
        return ()
    return ("No feature of this layer speaks for the structure; the map is empty.",)


def _on_scan(values: Array, target: Target, volume: Volume) -> NDArray[np.float32]:
    """A map on the network's grid -> float32 [k, j, i] on the scan's, 0 outside of it."""
    result: NDArray[np.float32] = resample(values, target.grid, volume.grid, average=False)
    result[~inside_mask(target.grid, volume.grid)] = 0
    return result
