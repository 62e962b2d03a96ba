"""How to train on these cases: spacing, window, halvings, batch and mirroring, each with its
reason.

The heuristics follow what nnU-Net publishes (Isensee et al., Nature Methods 2021, 18:203-211, with
its supplement): median spacing, the 10th percentile across thick slices, a window that keeps the
cases' proportions within a budget of memory, and axes that are halved until their resolutions are
alike. The budgets, the keeping of thin stacks whole and the rules for mirroring are our own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from math import log2, prod

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.registry.config_checks import config_from_json, json_object
from MedLLMSegLib.registry.input_channels import GreyScale, InputChannel, channels_of
from MedLLMSegLib.segmentation.prepare import Preparation

from .fingerprint import Fingerprint, fingerprint_of, fingerprint_table
from .plan_choices import (
    LEAST_VOX,
    choose_channels,
    choose_flips,
    choose_grey,
    choose_spacing,
    choose_strides,
    choose_window,
    times_text,
)

__all__ = [
    "CPU_BUDGET_VOX",
    "DataPlan",
    "Fingerprint",
    "fingerprint_of",
    "fingerprint_table",
    "gpu_budget_vox",
    "plan_data",
    "plan_table",
]

CPU_BUDGET_VOX = (
    2 * 163_840
)  # voxels of a batch: two windows of 10 x 128 x 128, what two cores train in bearable time
BYTES_A_VOXEL = 4096  # of GPU memory in training: a cautious guess, not measured
AS_BASE = "as the model that it begins with"


@dataclass(frozen=True)
class DataPlan:
    """What training and inference do with the data. All triples are (k, j, i).

    spacing_mm, axes: of the network's grid (`preprocess.whole_grid`). window: voxels of a training
    sample. batch: samples of a step. strides: how each stage of the stem halves the window. flips:
    axes (0 is k) that augmentation may mirror. rotate_deg: largest turn about each axis. scale:
    largest change of size, as a fraction. grey: one normalisation for all scans
    (`prepare.normalise`), or None for each by itself. reasons: name of a choice -> why. channels:
    the named images of a case, each with a normalisation of its own, in place of ``grey``.
    """

    spacing_mm: tuple[float, float, float]
    axes: str
    window: tuple[int, int, int]
    batch: int
    strides: tuple[tuple[int, int, int], ...]
    flips: tuple[int, ...]
    rotate_deg: tuple[float, float, float]
    scale: float
    grey: tuple[float, float, float, float] | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    channels: tuple[InputChannel, ...] = ()

    def __post_init__(self):
        if self.axes not in ("ras", "scan"):
            raise UserError(f'The plan\'s axes are "{self.axes}", and "ras" or "scan" is needed.')
        for name in ("spacing_mm", "window"):
            if len(getattr(self, name)) != 3 or not min(getattr(self, name)) > 0:
                raise UserError(
                    f"The plan's {name} is {getattr(self, name)}, and three numbers above 0 are"
                    " needed."
                )
        if self.batch < 1:
            raise UserError(f"The plan's batch is {self.batch}, and must be at least 1.")

    def to_dict(self) -> dict:
        """Without the key "channels" where a case is one image, as in older versions."""
        return {name: value for name, value in asdict(self).items() if name != "channels" or value}

    @property
    def preparation(self) -> Preparation:
        """How a whole scan is prepared for the network."""
        return Preparation(self.spacing_mm, self.axes, self.grey, self.channels)

    @property
    def wide_window(self) -> Triple:
        """Thick slices at twice the window's width: what goes through the network at once,
        outside of training, where it has learnt structures of many sizes. Else the window.
        """
        k, j, i = self.window
        return (k, 2 * j, 2 * i) if self.axes == "scan" else self.window

    def with_choices(self, **choices) -> DataPlan:
        """The plan with other choices, which the table then calls "as asked"."""
        reasons = {k: v for k, v in self.reasons.items() if k not in choices}
        if "window" in choices and "batch" in reasons:
            reasons["batch"] = f"as planned for a window of {times_text(self.window)}"
        return replace(self, **choices, reasons=reasons)

    @classmethod
    def from_dict(cls, data: Json) -> DataPlan:
        """From `to_dict`, also after a journey through JSON."""
        data = json_object(data, "the plan")
        unknown = set(data) - {f.name for f in fields(cls)}
        missing = {f.name for f in fields(cls)} - set(data) - {"reasons", "grey", "channels"}
        if unknown or missing:
            raise UserError(
                f"The plan {'has an unknown' if unknown else 'lacks the'} entry "
                f'"{sorted(unknown or missing)[0]}"; it belongs to another version of this program.'
            )
        return config_from_json(cls, data | {"channels": channels_of(data)})


def gpu_budget_vox(memory_bytes: int) -> int:
    """Voxels of a batch for a GPU with so much memory, never fewer than for the CPU."""
    return max(CPU_BUDGET_VOX, int(memory_bytes / BYTES_A_VOXEL))


def plan_data(
    fp: Fingerprint,
    budget_vox: int = CPU_BUDGET_VOX,
    spacing_mm: tuple | None = None,
    modality: str = "",
    base: Preparation | None = None,
) -> DataPlan:
    """A plan for cases like these. budget_vox: voxels of a batch (`gpu_budget_vox` for a GPU).

    spacing_mm: (k, j, i) where the user has decided it; the rest is planned for it. modality: what
    the user calls it, such as "CT". base: how the model that the training begins with sees scans;
    its weights know no other grey values.
    """
    sample_vox = budget_vox // 2
    spacing, why_spacing = _spacing_and_reason(fp, sample_vox, spacing_mm)
    case = np.array(fp.size_mm) / spacing  # the median case in voxels of the network's grid
    strides = choose_strides(spacing, case)
    window, why_window = choose_window(case, np.prod(strides, 0), sample_vox, fp.axes)
    batch = _choose_batch(window, budget_vox)
    flips, why_flips = choose_flips(fp)
    grey, why_grey = (base.grey, AS_BASE) if base else choose_grey(fp, modality)
    channels = base.channels if base else choose_channels(fp)
    if channels:
        grey, why_grey = None, "each image by what its numbers mean" if not base else AS_BASE
    scan = fp.axes == "scan"
    reasons = _reasons(fp) | {
        "spacing_mm": why_spacing,
        "window": why_window,
        "flips": why_flips,
        "grey": why_grey,
        "batch": (
            f"{batch} windows are {batch * prod(window)} voxels, and the budget is {budget_vox}"
        ),
    }
    return DataPlan(
        spacing_mm=spacing,
        axes=fp.axes,
        window=window,
        batch=batch,
        strides=strides,
        flips=flips,
        rotate_deg=(60.0, 0.0, 0.0) if scan else (15.0, 15.0, 15.0),
        scale=0.25 if scan else 0.15,
        grey=grey,
        reasons=reasons,
        channels=channels,
    )


def _spacing_and_reason(
    fp: Fingerprint, sample_vox: int, asked_mm: tuple | None
) -> tuple[tuple[float, float, float], str]:
    if not asked_mm:
        return choose_spacing(fp, sample_vox)
    k, j, i = map(float, asked_mm)
    return (k, j, i), "as asked"


def _choose_batch(window: Triple, budget_vox: int) -> int:
    """Twice a power of two, so that a batch can be split among processes; 8 at most."""
    fit = 2 ** int(log2(max(1.0, budget_vox / 2 / prod(window))))
    return 2 * min(4, fit)


def _reasons(fp: Fingerprint) -> dict[str, str]:
    """The reasons that depend on the axes only."""
    reasons = {
        "axes": f"the coarsest spacing is {fp.anisotropy:.3g} times the finest: ",
        "strides": (
            "an axis is halved while its voxels are at most twice as long as the others' and "
            f"{LEAST_VOX} or more remain"
        ),
    }
    if fp.axes == "scan":
        return {
            **reasons,
            "axes": (
                reasons["axes"] + "turned, thick slices would blur, so the scan's own axes are kept"
            ),
            "rotate_deg": (
                "in the plane of the slices, which are too thick to tilt; far, as each person lies"
                " differently"
            ),
            "scale": "wide, as the stated spacing of thick slices is often nominal",
        }
    return {
        **reasons,
        "axes": reasons["axes"] + "all cases can be brought into one orientation",
        "rotate_deg": "about every axis",
        "scale": "sizes differ from person to person",
    }


def _grey_rows(plan: DataPlan) -> list[tuple[str, GreyScale | None]]:
    """What is normalised, and by what."""
    named = [(f"grey of {channel.name}", channel.grey) for channel in plan.channels]
    return named or [("grey values", plan.grey)]


def _grey_text(grey: GreyScale | None) -> str:
    return (f"{grey[0]:.4g} to {grey[1]:.4g}" if grey else "0.5 to 99.5 %") + ", z-score"


def plan_table(fp: Fingerprint, plan: DataPlan) -> str:
    """The plan for the screen: each choice and its reason."""
    rows = [
        ("axes", "axes", {"ras": "along the body", "scan": "along the slices"}[plan.axes]),
        ("spacing_mm", "spacing, mm", times_text(plan.spacing_mm)),
        ("window", "window, voxels", times_text(plan.window)),
        ("batch", "batch", str(plan.batch)),
        ("strides", "halvings", ", ".join("x".join(map(str, stage)) for stage in plan.strides)),
        ("flips", "mirrored axes", ", ".join("kji"[a] for a in plan.flips) or "none"),
        ("rotate_deg", "turns, degrees", times_text(plan.rotate_deg)),
        ("scale", "change of size", f"{100 * plan.scale:.0f} %"),
        *(("grey", name, _grey_text(grey)) for name, grey in _grey_rows(plan)),
    ]
    return "\n".join(
        [f"Plan for {len(fp.ids)} training cases (k x j x i)"]
        + [
            f"  {name:<16}{value:<24}{plan.reasons.get(key, 'as asked')}"
            for key, name, value in rows
        ]
    )
