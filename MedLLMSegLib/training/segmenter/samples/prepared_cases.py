"""Labelled cases on disk -> arrays on the network's grid, read as inference reads a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.data import Case, CaseSet, read_label_map
from MedLLMSegLib.data.case_images import read_images
from MedLLMSegLib.data.channel_images import join_channels
from MedLLMSegLib.data.channel_names import case_for
from MedLLMSegLib.registry.input_channels import InputChannel
from MedLLMSegLib.segmentation.prepare import Preparation, prepare_whole

IN_TRAINING = "in training"  # what a model is called that has no name yet
REMEMBERED = 5000  # voxels of each structure that are remembered to place samples on


def prepare_case(case: Case, case_set: CaseSet, preparation: Preparation) -> dict:
    """Read one case: {"id", "image": float32 (C, K, J, I) normalised, "label": uint8 (1, K, J, I),
    "voxels"}. C: its images, of which most cases have one.

    "voxels": for each structure that is there, up to `REMEMBERED` of its voxels as (n, 3) indices.
    Raises `UserError` for a case that cannot be trained on.
    """
    image = read_image(case, case_set, preparation.channels)
    labels = read_label_map(case, case_set, image)
    array, way_back = prepare_whole(image, preparation)
    moved = _labels_on(Volume(labels, image.ijk_to_ras), way_back.crop)
    channels = array if array.ndim == 4 else array[None]
    return {"id": case.id, "image": channels, "label": moved[None], "voxels": _voxels(moved)}


def read_image(case: Case, case_set: CaseSet, channels: Sequence[InputChannel]) -> Volume:
    """The image of a case, [k, j, i], or its images as channels, [c, k, j, i], checked.

    channels: which of its images, and what each is; () for the only one. Raises `UserError`.
    """
    chosen = case_for(case, case_set.channels, channels, IN_TRAINING)
    # many a scan is called like others in other folders
    images = [
        replace(image, name=str(path))
        for image, path in zip(read_images(chosen), chosen.images, strict=True)
    ]
    if channels:
        return join_channels(images, channels, IN_TRAINING)
    check_scan(images[0])
    return images[0]


def _labels_on(labels: Volume, grid) -> np.ndarray:
    """Labels on another grid: each structure is interpolated and the largest wins, which keeps
    borders smooth.
    """
    values = [int(v) for v in np.unique(labels.array)]
    if labels.array.shape == grid.shape and np.allclose(
        labels.ijk_to_ras, grid.ijk_to_ras, atol=1e-4
    ):
        return labels.array.astype(np.uint8)
    best, winner = np.full(grid.shape, -1.0, np.float32), np.zeros(grid.shape, np.uint8)
    for value in values:
        share = resample(
            (labels.array == value).astype(np.float32), labels.grid, grid, outside=float(value == 0)
        )
        winner[share > best] = value
        np.maximum(best, share, out=best)
    return winner


def _voxels(labels: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [np.argwhere(labels == value) for value in np.unique(labels) if value]
    return [
        f if len(f) <= REMEMBERED else f[rng.choice(len(f), REMEMBERED, replace=False)]
        for f in found
    ]


@dataclass(frozen=True)
class CaseCache:
    """A folder of prepared cases, which are read from there when a voxel is wanted.

    A scan of 512 x 512 x 300 voxels takes 400 MB prepared, so a few dozen would not fit a laptop's
    memory.

    writes: whether this process fills the folder. Of several processes one does, and the others
    come after it. kept: whether what lies there already was made from the same cases.
    """

    folder: Path
    writes: bool = True
    kept: bool = False

    def holds(self, name: str) -> bool:
        """Whether a case can be read without being prepared anew."""
        written = all(path.exists() for path in _files(name, self.folder))
        return not self.writes or (self.kept and written)


def prepare_set(
    cases: Sequence[Case],
    case_set: CaseSet,
    preparation: Preparation,
    cache: CaseCache | None = None,
    progress: Report | None = None,
) -> list[dict]:
    """All cases prepared, in memory or in a cache on disk."""
    prepared, report = [], Progress.of(progress)
    for n, case in enumerate(cases):
        report(f"reading {case.id}", n / len(cases))
        if cache is not None and cache.holds(case.id):
            prepared.append(_from_disk(case.id, cache.folder))
            continue
        ready = prepare_case(case, case_set, preparation)
        prepared.append(ready if cache is None else _on_disk(ready, cache.folder))
    if prepared and not any(case["voxels"] for case in prepared):
        spacing = preparation.spacing_mm
        grid = spacing if isinstance(spacing, tuple) else (spacing,) * 3
        raise UserError(
            "None of these cases has a labelled voxel on a grid of"
            f" {' x '.join(f'{s:g}' for s in grid)} mm:"
            f" {', '.join(case.id for case in cases[:5])}{' ...' if len(cases) > 5 else ''}; label"
            " one of them, use a finer --spacing, or draw other cases (--seed)."
        )
    return prepared


def _files(name: str, cache: Path) -> tuple[Path, Path]:
    return cache / f"{name}-image.npy", cache / f"{name}-label.npy"


def _on_disk(case: dict, cache: Path) -> dict:
    for path, array in zip(_files(case["id"], cache), (case["image"], case["label"]), strict=True):
        with atomic_write(path) as scratch:
            np.save(scratch, array)
    return _from_disk(case["id"], cache)


def _from_disk(name: str, cache: Path) -> dict:
    image, label = (
        np.load(path, mmap_mode="r", allow_pickle=False) for path in _files(name, cache)
    )
    return {"id": name, "image": image, "label": label, "voxels": _voxels(np.asarray(label[0]))}


def plan_crops(cases: list[dict], spacing_mm: float) -> dict:
    """What the cascade for crops around one organ must know of the training crops (anatomy
    "hippocampus").

    cases: prepared cases. Margins are the mean distance in voxels (k, j, i) between the organ's
    bounding box and the crop's edge; plausible volumes are half the smallest and twice the largest
    that were seen.
    """
    low, high, ml = [], [], []
    for case in cases:
        label = case["label"][0] > 0
        found = np.argwhere(label)
        if not len(found):
            raise UserError(
                f'The label map of case "{case["id"]}" is empty; label the case or take it off the'
                " list."
            )
        low.append(found.min(0))
        high.append(np.array(label.shape) - 1 - found.max(0))
        ml.append(label.sum() * spacing_mm**3 / 1000)
    return {
        "search_shape": [48, 64, 48],
        "margin_low_vox": [round(float(v)) for v in np.mean(low, 0)],
        "margin_high_vox": [round(float(v)) for v in np.mean(high, 0)],
        "plausible_ml": [round(float(min(ml)) / 2, 2), round(float(max(ml)) * 2, 2)],
    }
