"""How to train on these cases: spacing, window, halvings, batch and mirroring, each with its
reason.

The heuristics follow what nnU-Net publishes (Isensee et al., Nature Methods 2021, 18:203-211, with
its supplement): median spacing, the 10th percentile across thick slices, a window that keeps the
cases' proportions within a budget of memory, and axes that are halved until their resolutions are
alike. The budgets, the keeping of thin stacks whole and the rules for mirroring are our own.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from math import ceil, log2, prod

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.segmentation.prepare import Preparation

from .fingerprint import Fingerprint, fingerprint_of, fingerprint_table

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
STAGES = 3  # halvings, as in the network's stem
LEAST_VOX = 4  # an axis is not halved to fewer
WHOLE_STACK_VOX = 16  # so few voxels across thick slices are kept whole
LEAST_SHARE = 1 / 8  # of the median case that a window has to show
LEAST_STRUCTURE_VOX = 1000  # coarser voxels must leave the smallest structure so many
FINEST_MM, COARSEST_MM = 0.05, 20.0
AS_BASE = "as the model that it begins with"
AIR_HU = (
    -500
)  # an MR never has values so low, and a CT that shows air outside or in the lungs always has


@dataclass(frozen=True)
class DataPlan:
    """What training and inference do with the data. All triples are (k, j, i).

    spacing_mm, axes: of the network's grid (`preprocess.whole_grid`). window: voxels of a training
    sample. batch: samples of a step. strides: how each stage of the stem halves the window. flips:
    axes (0 is k) that augmentation may mirror. rotate_deg: largest turn about each axis. scale:
    largest change of size, as a fraction. grey: one normalisation for all scans
    (`preprocess.normalise`), or None for each by itself. reasons: name of a choice -> why.
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
        return asdict(self)

    def with_choices(self, **choices) -> DataPlan:
        """The plan with other choices, which the table then calls "as asked"."""
        reasons = {k: v for k, v in self.reasons.items() if k not in choices}
        if "window" in choices and "batch" in reasons:
            reasons["batch"] = f"as planned for a window of {_triple(self.window)}"
        return replace(self, **choices, reasons=reasons)

    @classmethod
    def from_dict(cls, data: dict) -> DataPlan:
        """From `to_dict`, also after a journey through JSON."""
        unknown = set(data) - {f.name for f in fields(cls)}
        missing = {f.name for f in fields(cls)} - set(data) - {"reasons", "grey"}
        if unknown or missing:
            raise UserError(
                f"The plan {'has an unknown' if unknown else 'lacks the'} entry "
                f'"{sorted(unknown or missing)[0]}"; it belongs to another version of this program.'
            )
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**{**plain, "strides": tuple(map(tuple, data["strides"]))})


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
    spacing, why_spacing = (
        (tuple(map(float, spacing_mm)), "as asked") if spacing_mm else _spacing(fp, sample_vox)
    )
    case = np.array(fp.size_mm) / spacing  # the median case in voxels of the network's grid
    strides = _strides(spacing, case)
    window, why_window = _window(case, np.prod(strides, 0), sample_vox, fp.axes)
    # A power of two, so that a batch can be parted among processes.
    fit = 2 ** int(log2(max(1.0, budget_vox / 2 / prod(window))))
    batch = 2 * min(4, fit)
    flips, why_flips = _flips(fp)
    grey, why_grey = (base.grey, AS_BASE) if base else _grey(fp, modality)
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
        spacing,
        fp.axes,
        window,
        batch,
        strides,
        flips,
        (60.0, 0.0, 0.0) if scan else (15.0,) * 3,
        0.25 if scan else 0.15,
        grey,
        reasons,
    )


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


def _spacing(fp: Fingerprint, sample_vox: int) -> tuple[tuple[float, float, float], str]:
    """The median, the 10th percentile across thick slices; coarser where a window would show too
    little.
    """
    spacing, why = np.array(fp.spacing_mm), "the median of the cases"
    k, others = spacing[0], spacing[1:]
    if fp.axes == "scan" and k > 3 * others.max():
        spacing[0] = max(np.percentile([s[0] for s in fp.spacings_mm], 10), others.max())
        why = (
            "the median in the plane and the 10th percentile across the slices, so that few lose"
            " detail"
        )
    spacing = np.clip(spacing, FINEST_MM, COARSEST_MM)
    smallest_ml = min(
        float(np.median([v for v in all_ml if v]))
        for all_ml in fp.volumes_ml.values()
        if any(all_ml)
    )
    planned = spacing.copy()
    while sample_vox < LEAST_SHARE * np.prod(np.array(fp.size_mm) / planned):
        # The finest axes grow first, until all are alike.
        coarser = np.where(planned < 1.1 * planned.min(), planned * 1.05, planned)
        if (
            smallest_ml * 1000 / np.prod(coarser) < LEAST_STRUCTURE_VOX
            or coarser.max() > COARSEST_MM
        ):
            break
        planned = coarser
    if (planned > spacing).any():
        why += f", made coarser so that a window shows more of a case (it was {_triple(spacing)})"
    return tuple(float(f"{s:.4g}") for s in planned), why


def _strides(spacing, case_vox) -> tuple[tuple[int, int, int], ...]:
    """Which axes each stage halves."""
    spacing, left, stages = np.array(spacing, float), np.array(case_vox, float), []
    for _ in range(STAGES):
        halve = (spacing <= 2.001 * spacing.min()) & (left / 2 >= LEAST_VOX)
        if not halve.any():  # a tiny image: the window is padded
            halve = left >= left.max()
        stages.append(tuple(2 if h else 1 for h in halve))
        spacing, left = spacing * stages[-1], left / stages[-1]
    return tuple(stages)


def _window(case_vox, patch, sample_vox: int, axes: str) -> tuple[tuple[int, int, int], str]:
    """The whole median case if it fits, else its proportions; multiples of the patch."""
    whole = [
        max(LEAST_VOX if p > 1 else 1, ceil(round(n, 3) / p)) * int(p)
        for n, p in zip(case_vox, patch)
    ]
    window = list(whole)
    keep = {0} if axes == "scan" and whole[0] <= WHOLE_STACK_VOX else set()
    while prod(window) > sample_vox:
        least = [LEAST_VOX * int(p) for p in patch]
        able = [a for a in range(3) if a not in keep and window[a] - patch[a] >= least[a]]
        if not able:
            if not keep:
                break
            keep = set()
            continue
        axis = max(able, key=lambda a: window[a] / case_vox[a])
        window[axis] -= int(patch[axis])
    multiple = f"in multiples of {_triple(patch)}"
    if window == whole:
        return tuple(window), f"the whole median case ({_triple(case_vox)} voxels), {multiple}"
    share = 100 * prod(window) / prod(whole)
    return tuple(window), (
        f"{share:.0f} % of the median case ({_triple(case_vox)} voxels), {multiple}: "
        f"{sample_vox} voxels are the budget of a sample"
        + (", all slices are kept" if keep else "")
    )


# Words and letters for the sides of the body in the languages of this field, among a name's words
# in small letters.
_SIDED = re.compile(
    r"\b(left|right|l|r|lh|rh|lt|rt|link(s|er?|en)|recht(s|er?|en)|sinist(er|ra)|dext(er|ra)|sin|dx|sx|destr[ao]|gauche|droite?"
    r"|izquierd[ao]|derech[ao]|esquerd[ao]|direit[ao])\b"
    r"(?! (ventric|atri|auric))"
)  # a heart's chambers are told apart by their form and bound to no side


def _words(name: str) -> str:
    """ "LeftKidney" and "kidney_L" as words in small letters."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).casefold()


def _flips(fp: Fingerprint) -> tuple[tuple[int, ...], str]:
    """Which axes augmentation may mirror."""
    sided = [name for name in fp.labels.values() if _SIDED.search(_words(name))]
    if sided:
        return (), f'none: "{sided[0]}" is a side of the body, which a mirror would change'
    if fp.axes == "ras":
        return (), "none: all cases have one orientation, and mirrored anatomy is wrong"
    nameless = [name for name in fp.labels.values() if re.fullmatch(r"label_\d+", name)]
    if nameless:
        return (
            (),
            (
                f'none: "{nameless[0]}" may be a side of the body; if none is, name the structures'
                " (--structures)"
            ),
        )
    return (
        (0, 1, 2),
        (
            "all: oblique slices differ in which way their axes run, and no structure is named"
            " after a side"
        ),
    )


def _grey(fp: Fingerprint, modality: str) -> tuple[tuple[float, float, float, float] | None, str]:
    """One normalisation for all scans of CT: its numbers are Hounsfield units, 0 for water and
    -1000 for air.
    """
    stated, (low, high, _, deviation) = re.findall(r"\w+", modality.upper()), fp.grey
    if not (high > low and deviation > 0):
        return None, "each scan by itself: the labelled voxels all have one value"
    if "CT" in stated:
        return (
            fp.grey,
            (
                "Hounsfield units mean the same in each scan: those of the labelled voxels are"
                " spread out"
            ),
        )
    if not stated and max(low for low, _, _ in fp.intensities) <= AIR_HU:
        return (
            fp.grey,
            (
                f"all cases go down to {AIR_HU} or less, so these are Hounsfield units, the same in"
                " each scan (if not, state --modality)"
            ),
        )
    return None, "each scan by itself: scanners differ in what their numbers mean"


def plan_table(fp: Fingerprint, plan: DataPlan) -> str:
    """The plan for the screen: each choice and its reason."""
    rows = [
        ("axes", "axes", {"ras": "along the body", "scan": "along the slices"}[plan.axes]),
        ("spacing_mm", "spacing, mm", _triple(plan.spacing_mm)),
        ("window", "window, voxels", _triple(plan.window)),
        ("batch", "batch", str(plan.batch)),
        ("strides", "halvings", ", ".join("x".join(map(str, stage)) for stage in plan.strides)),
        ("flips", "mirrored axes", ", ".join("kji"[a] for a in plan.flips) or "none"),
        ("rotate_deg", "turns, degrees", _triple(plan.rotate_deg)),
        ("scale", "change of size", f"{100 * plan.scale:.0f} %"),
        (
            "grey",
            "grey values",
            (f"{plan.grey[0]:.4g} to {plan.grey[1]:.4g}" if plan.grey else "0.5 to 99.5 %")
            + ", z-score",
        ),
    ]
    return "\n".join(
        [f"Plan for {len(fp.ids)} training cases (k x j x i)"]
        + [
            f"  {name:<16}{value:<24}{plan.reasons.get(key, 'as asked')}"
            for key, name, value in rows
        ]
    )


def _triple(values) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)
