"""A detector tried in a scan: on inserted nodules, and on the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array, Json

from .candidates import Candidate, blob_candidates, network_candidates
from .density import Density
from .insertion import Placed, find_place, insert
from .lung_windows import LungWindows, lung_region
from .scans import Scan
from .shapes import BINS_MM, NoduleShape

if TYPE_CHECKING:
    from .study import Nodules

# HU of a scan or of its copy [k, j, i] -> candidates
Finder = Callable[[Array], list[Candidate]]
Detector = Callable[[Scan], Finder]
HIT_MM = 3.0  # between a candidate's centre and a nodule's outline, at most
SHAPES_TRIED = 50  # for a place in a scan
APART_MM = 6.0  # between inserted nodules, at least


def blob_detector(scan: Scan) -> Finder:
    """The trivial baseline."""
    return lambda hu: blob_candidates(hu, scan.lungs, scan.spacing_mm)


def network_detector(network: nn.Module) -> Detector:
    """A trained network."""

    def detector(scan: Scan) -> Finder:
        windows = LungWindows(network, lung_region(scan.lungs, scan.spacing_mm[0]))
        return lambda hu: network_candidates(windows, hu, scan.spacing_mm[0])

    return detector


def tried(
    detector: Detector, scan: Scan, densities: Sequence[Density], study: Nodules, progress: Progress
) -> Json:
    """{"nodules": [...], "false": [scores of each copy], "real": ..., "alone": [scores]}.

    Of each inserted nodule its number, diameter, size, voxels, the score of the best candidate that
    hits it (None: missed), and the Dice of that candidate's outline. "alone": false positives of
    the scan without inserted nodules.
    """
    finder, nodules, false = detector(scan), [], []
    progress(f"{scan.name}, as it is", 0.0)
    as_it_is = finder(scan.hu)
    for copy in range(study.copies):
        progress(f"{scan.name}, copy {copy + 1} of {study.copies}", copy / study.copies)
        hu, inserted = with_nodules(scan, study.shapes["test"], densities, study.each, copy)
        candidates = finder(hu)
        hits = [hit_by(candidates, outline, scan) for _, outline in inserted]
        for (shape, outline), hit in zip(inserted, hits, strict=True):
            nodules.append(_row(shape, outline, hit, copy))
        outlines = [outline for _, outline in inserted]
        false.append(false_scores(candidates, outlines, scan))
    return {
        "nodules": nodules,
        "false": false,
        "alone": false_scores(as_it_is, [], scan),
        "real": _real(as_it_is, scan) if scan.density else None,
    }


def with_nodules(
    scan: Scan, shapes: Sequence[NoduleShape], densities: Sequence[Density], each: int, copy: int
) -> tuple[Array, list[tuple[NoduleShape, Array]]]:
    """A copy of a scan with `each` nodules of every size, and the outline of each, bool [k, j, i].

    The same for every detector: a function of scan and copy alone.
    """
    rng = np.random.default_rng([copy, *scan.name.encode()])
    hu, taken, inserted = scan.hu.copy(), scan.left_out.copy(), []
    places = np.argwhere(scan.lungs & ~scan.left_out)
    for size in reversed(range(len(BINS_MM) - 1)):  # the large ones find a place first
        mine = [shape for shape in shapes if shape.size == size]
        for _ in range(each if mine else 0):
            shape, placed = _found_place(mine, scan, taken, places, rng)
            density = densities[int(rng.integers(len(densities)))]
            outline = np.zeros(hu.shape, bool)
            outline[placed.box] = insert(hu, scan, placed, density, rng)
            inserted.append((shape, outline))
            taken |= ndimage.distance_transform_edt(~outline, scan.spacing_mm) <= APART_MM
    return hu, inserted


def _found_place(
    shapes: Sequence[NoduleShape],
    scan: Scan,
    taken: Array,
    places: Array,
    rng: np.random.Generator,
) -> tuple[NoduleShape, Placed]:
    for _ in range(SHAPES_TRIED):
        shape = shapes[int(rng.integers(len(shapes)))]
        placed = find_place(shape, scan, taken, places, rng)
        if placed is not None:
            return shape, placed
    raise UserError(
        f'In "{scan.name}" there is no room left for a nodule of {shape.diameter_mm:g} mm; insert'
        " fewer into each copy."
    )


def _row(shape: NoduleShape, outline: Array, hit: Candidate | None, copy: int) -> Json:
    return {
        "nodule": shape.number,
        "patient": shape.patient,
        "copy": copy,
        "mm": round(shape.diameter_mm, 1),
        "size": shape.size,
        "voxels": int(outline.sum()),
        "score": None if hit is None else round(hit.score, 4),
        "dice": None if hit is None else round(candidate_dice(hit, outline), 4),
    }


def near(candidate: Candidate, outline: Array, scan: Scan) -> bool:
    """Whether a candidate's centre lies within `HIT_MM` of an outline."""
    spacing = np.array(scan.spacing_mm)
    low = np.maximum(0, np.floor(candidate.centre - HIT_MM / spacing)).astype(int)
    high = (np.ceil(candidate.centre + HIT_MM / spacing) + 1).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    places = np.argwhere(outline[box]) + low
    if not len(places):
        return False
    # to the nearest point of a voxel, as slices may be thicker than the reach
    off = np.maximum(np.abs(places - candidate.centre) - 0.5, 0) * spacing
    return bool((np.linalg.norm(off, axis=1) <= HIT_MM).any())


def hit_by(candidates: Sequence[Candidate], outline: Array, scan: Scan) -> Candidate | None:
    """The surest candidate that hits a nodule."""
    return next((each for each in candidates if near(each, outline, scan)), None)


def false_scores(
    candidates: Sequence[Candidate], outlines: Sequence[Array], scan: Scan
) -> list[float]:
    """The scores of candidates that hit no outline and do not lie in what is left out."""
    return [
        round(candidate.score, 4)
        for candidate in candidates
        if not _is_left_out(candidate, scan)
        and not any(near(candidate, outline, scan) for outline in outlines)
    ]


def _is_left_out(candidate: Candidate, scan: Scan) -> bool:
    last = np.array(scan.left_out.shape) - 1
    return bool(scan.left_out[tuple(np.round(candidate.centre).astype(int).clip(0, last))])


def candidate_dice(candidate: Candidate, outline: Array) -> float:
    """Dice of a candidate's outline at the scan's voxels."""
    both = outline[tuple(candidate.voxels.T)].sum()
    return float(2 * both / (len(candidate.voxels) + outline.sum()))


def _real(candidates: Sequence[Candidate], scan: Scan) -> Json:
    """The real nodule: the score and Dice of what found it, and how many surer false ones there
    are.
    """
    hit = hit_by(candidates, scan.real, scan)
    if hit is None:
        return {"found": False}
    false = false_scores(candidates, [], scan)
    return {
        "found": True,
        "score": round(hit.score, 4),
        "dice": round(candidate_dice(hit, scan.real), 4),
        "surer": sum(score >= hit.score for score in false),
    }
