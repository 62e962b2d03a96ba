"""`segment`: a scan in, a segmentation on its own grid out. The public function, cascade and all."""
from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .anatomy import ANATOMY
from .bundle import Bundle, load_strictly, read_bundle
from .catalogue import ModelEntry, find_model
from .config import NetworkConfig
from .errors import Progress, UserError
from .geometry import Grid, apply, centred_grid
from .inference import choose_device, predict
from .llm.store import resolve
from .localize import SIDES, Localizer, is_crop, localize
from .networks.build import build_network
from .postprocess import largest_component, restore, softmax
from .preprocess import Restore, prepare, whole_grid
from .structures import Segmentation, Structure
from .volume import Volume, check_scan

REACH_MM = 15.0  # how far an outline's centre may lie from the localizer's; whose worst error on whole scans was below 10
SETTINGS = ("spacing_mm", "search_shape", "margin_low_vox", "margin_high_vox", "plausible_ml")  # of a bundle's preprocessing


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle ready to run. settings: its metadata's "preprocessing". localizer: None for a model without cascade."""

    entry: ModelEntry
    network: nn.Module
    settings: dict
    anatomy: str
    localizer: Localizer | None
    device: torch.device
    sha256: str  # of all the weights that take part


@dataclass(frozen=True, eq=False)
class Outline:
    """One organ on a crop. probabilities: float32 [classes, k, j, i] on `way_back.crop`. side: "left", "right" or None."""

    probabilities: np.ndarray
    way_back: Restore
    side: str | None

    @cached_property
    def organ_vox(self) -> np.ndarray:
        """(n, 3) indices k, j, i on the crop of the organ's largest part."""
        return np.argwhere(largest_component(self.probabilities[0] < 0.5))


def load_model(name: str | Path = "hippocampus-t1", device: str = "auto") -> Model:
    """Read and verify a bundle, its language-model layers and its localizer. name: an id or a bundle's folder."""
    entry, torch_device = find_model(name), choose_device(device)
    bundle = read_bundle(entry.folder)
    try:
        return _build_model(entry, bundle, torch_device)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f'The description of the model bundle "{entry.folder}" is damaged '
                        f"({type(error).__name__}: {error}); install it again.") from error


def _build_model(entry: ModelEntry, bundle: Bundle, device: torch.device) -> Model:
    about = bundle.metadata
    config, settings, anatomy = NetworkConfig.from_dict(about["network"]), dict(about["preprocessing"]), about["anatomy"]
    missing = [k for k in SETTINGS if k not in settings] + [a for a in [anatomy] if a not in ANATOMY]
    if missing:
        raise KeyError(missing[0])
    weights = resolve(config.llm.source, config.llm.layers) if config.llm else None
    if weights is not None and weights.sha256 != about["llm_sha256"]:
        raise UserError(f'The language-model layer "{config.llm.source}" on this computer is not the one that '
                        f'"{entry.id}" was trained with; run `medllmseg llm verify`.')
    network = build_network(config, weights)
    load_strictly(network, bundle.tensors, frozen_prefix="llm.llm." if config.llm and config.llm.frozen else None)
    place = find_model(about["localizer"], "localizer") if about.get("localizer") else None
    localizer = Localizer.from_bundle(read_bundle(place.folder)) if place else None
    sha256 = "+".join(e.sha256 for e in (entry, place) if e)
    return Model(entry, network.eval().to(device), settings, anatomy, localizer, device, sha256)


def segment(volume: Volume, model: str | Path | Model = "hippocampus-t1", *, device: str = "auto", side: str | None = None,
            probabilities: bool = False, progress: Progress | None = None) -> Segmentation:
    """Segment one scan.

    volume: a 3D scan of any orientation and spacing. model: an id, a bundle's folder, or what `load_model` returned.
    side: "left" or "right"; for a crop around one organ it says which side that is (None: not known), in a whole
    head it asks for that side alone.
    probabilities: also return float32 maps [c, k, j, i] over the structures.
    progress: called with (stage, fraction done); may raise `Cancelled` to stop the work.
    Returns a `Segmentation` on the scan's own grid. Raises `UserError` for a scan that cannot be segmented.
    """
    began = time.monotonic()
    if side not in (None, *SIDES):
        raise UserError(f'"{side}" is no side; use left or right, or leave it out.')
    check_scan(volume)
    report = progress or (lambda stage, fraction: None)
    report("load", 0.0)
    model = model if isinstance(model, Model) else load_model(model, device)
    if model.localizer is None or is_crop(volume):
        outlines, notes = _outline_crop(volume, model, side, report)
    else:
        outlines, notes = _outline_head(volume, model, side, report)
    report("restore", 0.9)
    structures = ANATOMY[model.anatomy](lateral=outlines[0].side is not None)
    labels, confidence, maps = _assemble(volume, outlines, structures, probabilities)
    if not labels.any():
        raise UserError(f'No hippocampus was found in "{volume.name}"; check that it is a T1 MRI of the head.')
    report("done", 1.0)
    return Segmentation(volume.with_array(labels), structures, confidence, maps, notes, model.entry.id,
                        time.monotonic() - began)


def _outline_crop(volume: Volume, model: Model, side: str | None, report: Progress):
    """A scan that is a crop around one organ already: no localizer; right ones are mirrored to look like left ones.

    Without a side both ways are tried and the surer one is taken.
    """
    ways = (side == "right",) if side else (False, True)
    found = [_outline(volume, model, whole_grid(volume, model.settings["spacing_mm"], mirrored=mirrored), side, report)
             for mirrored in ways]
    outline = max(found, key=_confidence)
    look = "right" if ways[found.index(outline)] else "left"
    note = (f"The scan is a crop around one hippocampus; it was taken as the {side} one, as asked." if side else
            f"The scan is a crop around one hippocampus of unspecified side; it looks like a {look} one.")
    if not _plausible(outline, model):
        raise UserError(f'No hippocampus was found in "{volume.name}", which is small enough to be a crop around one; '
                        "load a T1 MRI of the head, or a crop around one hippocampus.")
    return [outline], (note,)


def _outline_head(volume: Volume, model: Model, side: str | None, report: Progress):
    """Find each side, outline it in a crop around its centre, and once more in a crop that fits it."""
    locations = localize(volume, model.localizer, model.device, lambda stage, f: report(stage, 0.5 * f))
    wanted = [place for place in locations if side in (None, place.side)]
    outlines = []
    for n, place in enumerate(wanted):
        begin, share = 0.5 + 0.4 * n / len(wanted), 0.4 / len(wanted)
        part = lambda stage, f, begin=begin, share=share: report(f"{stage} {place.side}", begin + share * f)
        first = centred_grid(place.centre_ras, tuple(model.settings["search_shape"]), model.settings["spacing_mm"],
                             mirrored=place.side == "right")
        outline = _outline(volume, model, first, place.side, part)
        if _plausible(outline, model, place.centre_ras):
            second = _outline(volume, model, _fitting_grid(outline, model), place.side, part)
            outlines.append(second if _plausible(second, model, place.centre_ras) else outline)
    missing = [s for s in SIDES if side in (None, s) and s not in [o.side for o in outlines]]
    if not outlines:
        raise UserError(f'No {side + " " if side else ""}hippocampus was found in "{volume.name}"; '
                        "load a T1 MRI of the head with both temporal lobes in it.")
    notes = [f"The {s} hippocampus was not found; only the other side was segmented." for s in missing]
    return outlines, tuple(notes)


def _outline(volume: Volume, model: Model, grid: Grid, side: str | None, report: Progress) -> Outline:
    array, way_back = prepare(volume, grid)
    return Outline(softmax(predict(model.network, array, model.device, progress=report)), way_back, side)


def _confidence(outline: Outline) -> float:
    """Mean probability of the winning class over the organ's voxels; 0 where there are none."""
    organ = outline.probabilities[0] < 0.5
    return float(outline.probabilities.max(axis=0)[organ].mean()) if organ.any() else 0.0


def _plausible(outline: Outline, model: Model, expected_ras=None) -> bool:
    """Whether an outline has an organ's volume (limits in mL in the model's settings) and lies where it should.

    expected_ras: (3,) mm, where the localizer saw the organ; in images unlike the training's the segmenter may
    outline something else.
    """
    found = outline.organ_vox
    low, high = model.settings["plausible_ml"]
    if not low <= len(found) * outline.way_back.crop.voxel_ml <= high:
        return False
    centre = apply(outline.way_back.crop.ijk_to_ras, found.mean(0)[::-1])
    return expected_ras is None or float(np.linalg.norm(centre - expected_ras)) <= REACH_MM


def _fitting_grid(outline: Outline, model: Model) -> Grid:
    """The crop that the training cases would have around this organ: its bounding box and their mean margins."""
    found = outline.organ_vox
    low = found.min(0) - np.array(model.settings["margin_low_vox"])
    high = found.max(0) + np.array(model.settings["margin_high_vox"])
    crop = outline.way_back.crop
    matrix = crop.ijk_to_ras.copy()
    matrix[:3, 3] = apply(crop.ijk_to_ras, low[::-1])
    return Grid(tuple(int(n) for n in high - low + 1), matrix)


def _assemble(volume: Volume, outlines: list[Outline], structures: tuple[Structure, ...], keep: bool):
    """Outlines -> uint8 labels on the scan's grid, mean probability of each label, and maps if asked for."""
    labels = np.zeros(volume.array.shape, np.uint8)
    maps = np.zeros((len(structures), *volume.array.shape), np.float32) if keep else None
    confidence = {s.label: float("nan") for s in structures}
    for outline in outlines:
        values, box = restore(outline.probabilities, outline.way_back)  # (classes, k, j, i)
        winner = values.argmax(axis=0).astype(np.uint8)
        winner[~largest_component(winner > 0)] = 0
        offset = (len(values) - 1) * (outline.side == "right")
        part = labels[box]
        part[winner > 0] = winner[winner > 0] + offset
        for c in range(1, len(values)):
            if (winner == c).any():
                confidence[c + offset] = float(values[c][winner == c].mean())
            if keep:
                np.maximum(maps[(c + offset - 1, *box)], values[c], out=maps[(c + offset - 1, *box)])
    return labels, confidence, volume.with_array(maps, f"{volume.name} probabilities") if keep else None
