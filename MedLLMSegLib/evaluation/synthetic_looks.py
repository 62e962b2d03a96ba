"""What a model of the whole brain sees of heads that are synthesised from label maps, by the recipe
of its training: the reference of a model that was trained on no scan at all.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama
from MedLLMSegLib.registry.segmenter_settings import domain_window
from MedLLMSegLib.segmentation.domain_features import window_features
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.training.synthesis.head_maps import HeadMap, label_map_file, load_head_map
from MedLLMSegLib.training.synthesis.pose import PoseConfig
from MedLLMSegLib.training.synthesis.sample import SynthesisConfig, draw_head

# A closer look at a head is about so large (`segmentation.closer_look`), with the brain in it.
CLOSER_LOOK: Triple = (160, 192, 160)
LIKE_CLOSER_LOOK = SynthesisConfig(shape=CLOSER_LOOK, pose=PoseConfig(shift_mm=(8.0, 8.0, 8.0)))
HEADS = {"train": 60, "val": 34, "test": 20}
FIRST_SEEDS = {"train": 50_000_017, "val": 60_000_011, "test": 80_000_023}  # unlike any other set


def synthetic_features(
    model: SegmenterModel, maps: Path, split: str, progress: Progress
) -> NDArray[np.float32]:
    """(N, F) of the N heads of a split, which go round its label maps.

    maps: the folder of label maps, with the names of each split in its splits.json. Raises
    `UserError` for another folder.
    """
    names, rows = _names(maps, split), []
    heads: dict[str, HeadMap] = {}
    for number in range(HEADS[split]):
        name = names[number % len(names)]
        progress(f"{split} head {number + 1} of {HEADS[split]}", number / HEADS[split])
        if name not in heads:
            heads[name] = load_head_map(label_map_file(maps, name))
        rows.append(_features(model, heads[name], FIRST_SEEDS[split] + number))
    return np.stack(rows)


def _features(model: SegmenterModel, head: HeadMap, seed: int) -> NDArray[np.float32]:
    """(F,) of one head."""
    assert isinstance(model.network, MedVisionLlama)  # `fit_segmenter_domain` has checked it
    image = draw_head([head], seed, LIKE_CLOSER_LOOK).image.numpy()
    window = domain_window(model.settings, CLOSER_LOOK)
    return window_features(model.network, image, window, model.device)


def _names(maps: Path, split: str) -> list[str]:
    try:
        stated = json.loads((maps / "splits.json").read_text(encoding="utf-8"))
        names = [str(name) for name in stated[split]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{maps}" has no splits.json with the names of label maps for "{split}"; give the'
            " folder of label maps that the model was trained on."
        ) from error
    if not names:
        raise UserError(f'The splits.json of "{maps}" names no label map for "{split}".')
    return names
