"""A plan's choices, each with its reason: spacing, halvings, window, mirroring, grey values."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil, prod

import numpy as np

from MedLLMSegLib.registry.input_channels import InputChannel

from .fingerprint import Fingerprint

STAGES = 3  # halvings, as in the network's stem


LEAST_VOX = 4  # an axis is not halved to fewer


WHOLE_STACK_VOX = 16  # so few voxels across thick slices are kept whole


LEAST_SHARE = 1 / 8  # of the median case that a window has to show


LEAST_STRUCTURE_VOX = 1000  # coarser voxels must leave the smallest structure so many


FINEST_MM, COARSEST_MM = 0.05, 20.0


AIR_HU = (
    -500
)  # an MR never has values so low, and a CT that shows air outside or in the lungs always has


def choose_spacing(fp: Fingerprint, sample_vox: int) -> tuple[tuple[float, float, float], str]:
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
        why += (
            f", made coarser so that a window shows more of a case (it was {times_text(spacing)})"
        )
    k, j, i = (float(f"{s:.4g}") for s in planned)
    return (k, j, i), why


def choose_strides(spacing, case_vox) -> tuple[tuple[int, int, int], ...]:
    """Which axes each stage halves."""
    spacing, left, stages = np.array(spacing, float), np.array(case_vox, float), []
    for _ in range(STAGES):
        halve = (spacing <= 2.001 * spacing.min()) & (left / 2 >= LEAST_VOX)
        if not halve.any():  # a tiny image: the window is padded
            halve = left >= left.max()
        k, j, i = (2 if halved else 1 for halved in halve)
        stages.append((k, j, i))
        spacing, left = spacing * stages[-1], left / stages[-1]
    return tuple(stages)


def choose_window(case_vox, patch, sample_vox: int, axes: str) -> tuple[tuple[int, int, int], str]:
    """The whole median case if it fits, else its proportions; multiples of the patch."""
    whole = [
        max(LEAST_VOX if p > 1 else 1, ceil(round(n, 3) / p)) * int(p)
        for n, p in zip(case_vox, patch, strict=True)
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
    multiple = f"in multiples of {times_text(patch)}"
    if window == whole:
        return tuple(window), f"the whole median case ({times_text(case_vox)} voxels), {multiple}"
    share = 100 * prod(window) / prod(whole)
    return tuple(window), (
        f"{share:.0f} % of the median case ({times_text(case_vox)} voxels), {multiple}: "
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


def _lower_case_words(name: str) -> str:
    """ "LeftKidney" and "kidney_L" as words in small letters."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).casefold()


def choose_flips(fp: Fingerprint) -> tuple[tuple[int, ...], str]:
    """Which axes augmentation may mirror."""
    sided = [name for name in fp.labels.values() if _SIDED.search(_lower_case_words(name))]
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


def choose_grey(
    fp: Fingerprint, modality: str
) -> tuple[tuple[float, float, float, float] | None, str]:
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


def choose_channels(fp: Fingerprint) -> tuple[InputChannel, ...]:
    """The named images of a case, each with its own normalisation: one for all scans where its
    numbers mean the same in each, as Hounsfield units and SUV do. () where a case is one image.
    """
    channels = []
    for found in fp.channels:
        channel, (low, high, mean, deviation) = InputChannel.named(found.name), found.grey
        if channel.unit and high > low and deviation > 0:
            channel = replace(channel, grey=(low, high, mean, deviation))
        channels.append(channel)
    return tuple(channels)


def times_text(values) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)
