"""The two real nodules: found or not, and their outlines at native voxels beside the readers'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.training.checkpoint import BEST, fill_best

from .nodule_recipe import new_network
from .scans import Scan
from .shapes import HELD_BACK, READERS
from .trial import Finder, blob_detector, hit_by, network_detector

if TYPE_CHECKING:
    from .study import Nodules


@dataclass(frozen=True, eq=False)
class RealNodule:
    """A crop at native voxels. outlines: who -> bool [k, j, i], of those who found it."""

    name: str
    crop: Volume
    readers: Array
    outlines: Mapping[str, Array]


def real_nodules(study: Nodules, folds: Mapping[str, tuple[str, ...]]) -> list[RealNodule]:
    """Both, as far as the weights of the networks that never saw their scans are still there."""
    found = []
    for name in HELD_BACK:
        fold = next(fold for fold, learnt in folds.items() if name not in learnt)
        run = study.output / Run("network", 0, fold).name
        if not (run / BEST).exists():
            return []
        network = new_network(0, study.network)
        fill_best(network, run)
        scan, folder = study.scans[name], study.data / "lung_ct"
        whole = load_volume(folder / "whole" / f"{name}.nii.gz")
        crop, counts = (
            load_volume(folder / part / f"{name}.nii.gz") for part in ("crops", "crop_labels")
        )
        finders = {"network": network_detector(network.eval())(scan), "blobs": blob_detector(scan)}
        outlines = {
            who: mask
            for who, finder in finders.items()
            if (mask := _outline(finder, scan, whole, crop)) is not None
        }
        outlines["readers at 2 mm"] = carried_over(scan.real, whole, crop)
        found.append(RealNodule(name, crop, counts.array, outlines))
    return found


def _outline(finder: Finder, scan: Scan, whole: Volume, crop: Volume) -> Array | None:
    hit = hit_by(finder(scan.hu), scan.real, scan)
    if hit is None:
        return None
    mask = np.zeros(scan.hu.shape, bool)
    mask[tuple(hit.voxels.T)] = True
    return carried_over(mask, whole, crop)


def carried_over(mask: Array, whole: Volume, crop: Volume) -> Array:
    """A mask of the whole scan at a crop's voxels, linearly, from a half on; bool [k, j, i]."""
    k, j, i = np.indices(crop.array.shape)
    ijk = np.stack([i, j, k, np.ones_like(i)], axis=-1).astype(float)  # (K, J, I, 4)
    there = ijk @ (np.linalg.inv(whole.ijk_to_ras) @ crop.ijk_to_ras).T
    places = np.moveaxis(there[..., 2::-1], -1, 0)  # (3, K, J, I), k first
    smooth = ndimage.map_coordinates(mask.astype(np.float32), places, order=1)
    carried: Array = smooth >= 0.5
    return carried


def real_figures(nodules: list[RealNodule], data: Path) -> Json:
    """Name -> Dice of each outline with the readers' majority, and theirs with each other."""
    findings = json.loads((data / "lung_ct" / "findings.json").read_text(encoding="utf-8"))
    return {
        nodule.name: {
            "dice": {
                who: round(_dice(mask, nodule.readers >= READERS), 3)
                for who, mask in nodule.outlines.items()
            },
            "between_readers": findings[nodule.name]["dice_between_readers"],
            "crop_spacing_mm": [round(step, 3) for step in nodule.crop.spacing_mm],
        }
        for nodule in nodules
    }


def _dice(one: Array, other: Array) -> float:
    return float(dice(one.astype(np.uint8), other.astype(np.uint8), 1))
