"""How well a localizer finds the hippocampi in heads that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, centred_grid, transform_points
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig, LocalizerNet
from MedLLMSegLib.segmentation.hippocampus_candidates import SIDES
from MedLLMSegLib.segmentation.localize import localize
from MedLLMSegLib.segmentation.localizer import Localizer

from .localizer_pose import GRID_MM
from .subjects import Subject
from .synthesis import Sample, draw_sample

IN_VIEW, OUT_OF_VIEW = 0.95, 0.1  # of a hippocampus


def load_trained(weights) -> Localizer:
    """The localizer that `train_localizer` wrote."""
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    network = LocalizerNet(LocalizerConfig(**saved["config"]))
    network.load_state_dict(saved["tensors"])
    return Localizer(network)


@dataclass
class _Score:
    """Counts of sides (left, right) over all images, and the errors of their centres in mm."""

    in_view: int = 0
    missed: int = 0
    swapped: int = 0
    out_of_view: int = 0
    false: int = 0
    errors_mm: list[float] = field(default_factory=list)

    def add(self, sample: Sample, centres: dict[str, np.ndarray]) -> None:
        """Score the centres (RAS mm) that were found in a sample."""
        truth = _true_centres(sample)
        for number, side in enumerate(SIDES):
            visible = sample.visible[number]
            if visible < OUT_OF_VIEW:
                self.out_of_view += 1
                self.false += side in centres
            if visible <= IN_VIEW:
                continue
            self.in_view += 1
            if side not in centres:
                self.missed += 1
                continue
            own, other = (
                float(np.linalg.norm(centres[side] - truth[name]))
                for name in (side, SIDES[1 - number])
            )
            self.errors_mm.append(own)
            self.swapped += other < own  # NaN, where the other side is out of view, is not smaller


def validate(
    localizer: Localizer,
    heads: Sequence[Subject],
    count: int,
    seed: int = 1_000_000,
    device: str = "cpu",
    progress: Report | None = None,
) -> dict:
    """Figures on ``count`` images synthesised from kept-out heads, the same ones every time.

    A side has to be found if more than 95 % of its hippocampus is in view, and must not be
    reported if less than 10 % is. Between these it counts for neither. Returns counts, and centre
    errors in mm.
    """
    report, score = Progress.of(progress), _Score()
    for n in range(count):
        sample = draw_sample(heads, np.random.default_rng([seed, n]))
        score.add(sample, _found_centres(sample, localizer, device))
        report(f"validated {n + 1} of {count}", (n + 1) / count)
    return {
        "images": count,
        "sides_in_view": score.in_view,
        **error_summary(score.errors_mm),
        "swapped": int(score.swapped),
        "missed": score.missed,
        "sides_out_of_view": score.out_of_view,
        "false": int(score.false),
    }


def error_summary(errors_mm: list[float]) -> dict[str, float | None]:
    """Median, 95th percentile and worst of a list of errors; None for an empty list."""
    names = ("median_mm", "p95_mm", "worst_mm")
    if not errors_mm:
        return dict.fromkeys(names)
    values = np.percentile(errors_mm, (50, 95, 100))
    return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


def _sample_grid(sample: Sample) -> Grid:
    return centred_grid((0, 0, 0), sample.image.shape, GRID_MM)


def _true_centres(sample: Sample) -> dict[str, np.ndarray]:
    """Side -> centre in RAS mm of what is in view of it; NaN if nothing is."""
    matrix = _sample_grid(sample).ijk_to_ras
    return {
        side: transform_points(matrix, sample.centre_vox(number)[::-1])
        for number, side in enumerate(SIDES)
    }


def _found_centres(sample: Sample, localizer: Localizer, device: str) -> dict[str, np.ndarray]:
    """Side -> centre in RAS mm that the localizer found."""
    scan = Volume(sample.image, _sample_grid(sample).ijk_to_ras, "synthetic")
    try:
        organs = localize(scan, localizer, device)
    except UserError:
        return {}
    return {organ.side: np.array(organ.centre_ras) for organ in organs}
