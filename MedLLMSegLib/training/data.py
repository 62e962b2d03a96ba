"""Labelled cases on disk (Decathlon layout) -> prepared arrays in memory."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..cases import file_of
from ..errors import UserError
from ..files import load_volume
from ..geometry import resample
from ..preprocess import prepare, whole_grid

@dataclass(frozen=True)
class Case:
    """One labelled scan."""

    id: str
    image: Path
    label: Path


def find_cases(folder, ids: list[str]) -> list[Case]:
    """The labelled cases `ids` of a folder with `imagesTr` and `labelsTr`; `UserError` if a file is missing."""
    folder = Path(folder)
    return [Case(case, file_of(folder / "imagesTr", case), file_of(folder / "labelsTr", case)) for case in ids]


def prepare_case(case: Case, spacing_mm: float) -> dict[str, torch.Tensor]:
    """Read a case as inference would: {"image": float32 (1, K, J, I) normalised, "label": float32 (1, K, J, I)}."""
    image, label = load_volume(case.image), load_volume(case.label)
    if image.array.shape != label.array.shape or not np.allclose(image.ijk_to_ras, label.ijk_to_ras, atol=1e-3):
        raise UserError(f'The labels of case "{case.id}" lie on another grid ({label.array.shape}) than its image '
                        f"({image.array.shape}); resample them onto the image.")
    grid = whole_grid(image, spacing_mm)
    array, _ = prepare(image, grid)
    if not label.array.any():
        raise UserError(f'The label map of case "{case.id}" is empty; label the case or take it off the list.')
    labels = resample(np.rint(label.array).astype(np.uint8), label.grid, grid, order=0)
    return {"image": torch.from_numpy(array)[None], "label": torch.from_numpy(labels.astype(np.float32))[None]}


def plan_preprocessing(cases: list[dict[str, torch.Tensor]], spacing_mm: float) -> dict:
    """What inference must know of the training crops.

    cases: prepared cases. Margins are the mean distance in voxels (k, j, i) between the organ's bounding box and the
    crop's edge; plausible volumes are half the smallest and twice the largest that were seen.
    """
    low, high, ml = [], [], []
    for case in cases:
        label = case["label"][0].numpy() > 0
        found = np.argwhere(label)
        low.append(found.min(0))
        high.append(np.array(label.shape) - 1 - found.max(0))
        ml.append(label.sum() * spacing_mm ** 3 / 1000)
    return {"spacing_mm": spacing_mm, "search_shape": [48, 64, 48], "normalise": "percentile 0.5-99.5, z-score of the crop",
            "margin_low_vox": [int(round(v)) for v in np.mean(low, 0)],
            "margin_high_vox": [int(round(v)) for v in np.mean(high, 0)],
            "plausible_ml": [round(float(min(ml)) / 2, 2), round(float(max(ml)) * 2, 2)]}
