"""One structure of one scan: the areas of all maps, and those of shuffled weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.segmentation.explanation.grad_cam import CamSettings
from MedLLMSegLib.segmentation.explanation.seen import Seen
from MedLLMSegLib.segmentation.explanation.where import whereabouts
from MedLLMSegLib.segmentation.explanation.whole_evidence import whole_evidence
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.precision import float32_logits

from .curves import blurred, curves, ranked
from .rival_maps import border_first, inside_first, random_map
from .shuffled_weights import STAGES, rank_correlation, shuffled

RANDOM, INSIDE, BORDER = "random", "inside first", "border first"
PLACE_VOX = 8  # of a random map: as coarse as the maps are


@dataclass(frozen=True, eq=False)
class Measurer:
    """A network's answer to changed images of one structure.

    model: whose network runs, in the precision that was decided for it.
    """

    model: SegmenterModel
    seen: Seen

    def score(self, array: Array) -> float:
        """Mean probability of the structure over its region."""
        target = self.seen.target
        image = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
        precision = self.model.precision_for(self.seen.array, self.seen.window).name
        with torch.inference_mode():
            logits = float32_logits(self.model.network, image, precision)[0]
            classes = logits[: self.model.reading.classes].softmax(0)
        wanted = classes[list(target.outputs)].sum(0).numpy()
        return float(wanted[target.region].mean())

    def map_of(self, settings: CamSettings, network: torch.nn.Module) -> NDArray[np.float32]:
        """Positive evidence [k, j, i]."""
        found = whole_evidence(
            network,
            self.seen.array,
            self.seen.target.question(),
            self.seen.array.shape,
            settings,
            self.model.device,
            Progress(),
        )
        positive: NDArray[np.float32] = np.maximum(found.values, 0)
        return positive


def measure(
    measurer: Measurer, settings: Sequence[CamSettings], check: CamSettings | None, seed: int
) -> Json:
    """The areas of the rivals' maps and of each way to make one.

    check: whose maps are compared with those of shuffled weights; None for no check. seed: of
    chance.
    """
    seen, network = measurer.seen, measurer.model.network
    region, grid = seen.target.region, seen.target.grid
    hidden = blurred(seen.array, grid)
    places = [max(1, length // PLACE_VOX) for length in seen.array.shape]
    maps = {
        RANDOM: random_map(seen.array.shape, places, seed),
        INSIDE: inside_first(region, grid),
        BORDER: border_first(region, grid),
        **{title(each): measurer.map_of(each, network) for each in settings},
    }
    size = int(region.sum())
    row: Json = {
        "voxels": size,
        "share": size / region.size,
        "as it is": measurer.score(seen.array),
        "hidden": measurer.score(hidden),
        "maps": {},
    }
    for name, values in maps.items():
        found = curves(seen.array, hidden, ranked(values, seed), size, measurer.score)
        row["maps"][name] = asdict(found)
    if check is not None:
        row["where"] = asdict(whereabouts(maps[title(check)], region, grid))
        row["correlation"] = _correlations(measurer, check, maps)
    return row


def title(settings: CamSettings) -> str:
    """The name of a way to make a map."""
    return f"{settings.layer}, {settings.way}, {settings.score}"


def _correlations(measurer: Measurer, check: CamSettings, maps: dict[str, Array]) -> Json:
    """With the maps of shuffled weights, and with mere nearness."""
    own, network = maps[title(check)], measurer.model.network
    found = {
        stage: rank_correlation(own, measurer.map_of(check, shuffled(network, stage)))
        for stage in STAGES
    }
    return {**found, "nearness": rank_correlation(own, maps[INSIDE])}
