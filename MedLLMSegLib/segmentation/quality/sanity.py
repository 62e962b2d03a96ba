"""What is odd about a result, in words: sizes, places, parts and neighbours that no training case
had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.label_shape import Shape

from .light import Fault
from .norms import Norms, Offset, Spread, StructureNorm, neighbours, offset_mm

VOLUME_MARGIN = 1.35  # times beyond the training's range
LENGTH_MARGIN = 1.25
SHARE_MARGIN = 0.15  # of a surface, or of the voxels
# Times the shortest and the longest of the training, in the median of all structures, most of which
# must be beyond. Half the true pixel size makes a large organ 0.7 times the smallest.
MUCH_SMALLER, MUCH_LARGER, NEARLY_ALL = 0.75, 1.35, 0.75
GRAVE = 1.5  # times beyond the margin
LEAST_FOUND_SHARE = 0.02  # of the usual volume; less is as good as nothing


@dataclass(frozen=True)
class Sanity:
    """scan: faults of the whole. structures: label -> faults."""

    scan: tuple[Fault, ...] = ()
    structures: dict[int, tuple[Fault, ...]] = field(default_factory=dict)


def check_sanity(
    shapes: Mapping[int, Shape], structures: Sequence[Structure], norms: Norms
) -> Sanity:
    """Compare a result with the training cases.

    shapes: of the label map. structures: that were looked for. Structures without a norm are passed
    over.
    """
    by_label = {s.label: s for s in structures}
    known = {
        s.label: norms.structures[s.sideless_key]
        for s in structures
        if s.sideless_key in norms.structures
    }
    whole = _size_of_all(shapes, known)
    faults: dict[int, list[Fault]] = {label: [] for label in known}
    for label, norm in known.items():
        shape = shapes.get(label)
        if shape is None:
            faults[label].append(Fault("it was not found", grave=True))
            continue
        if not whole:
            faults[label] += _size(shape, norm)
        faults[label] += _parts(shape, norm)
        faults[label] += _neighbours(shape, norm, by_label)
    for label, fault in _places(shapes, by_label, norms.offsets):
        faults[label].append(fault)
    for label, fault in _sides(shapes, by_label):
        faults[label].append(fault)
    return Sanity(tuple(whole), {label: tuple(own) for label, own in faults.items()})


def _size_of_all(shapes: Mapping[int, Shape], known: Mapping[int, StructureNorm]) -> list[Fault]:
    """Whether everything is far smaller or larger than in any training case: of a structure the
    middle one of its three lengths counts, as a wrong pixel size changes two or all of them, and
    missing slices one.
    """
    ratios = [
        float(
            np.median(
                [
                    _beyond(math.log(length), spread)
                    for length, spread in zip(shapes[label].lengths_mm, norm.log_mm, strict=True)
                ]
            )
        )
        for label, norm in known.items()
        if label in shapes
    ]
    if not ratios:
        return []
    ratio = float(np.median(ratios))
    smaller, larger = (float(np.mean(own)) for own in (np.less(ratios, 1), np.greater(ratios, 1)))
    # Nearly all structures must agree: one that was cut off or missed says nothing of the pixels.
    if ratio <= MUCH_SMALLER and smaller >= NEARLY_ALL:
        what = f"small ({ratio:.1f} times the smallest"
    elif ratio >= MUCH_LARGER and larger >= NEARLY_ALL:
        what = f"large ({ratio:.1f} times the largest"
    else:
        return []
    return [
        Fault(
            f"everything is too {what} of the training): most likely the pixel size of the scan is"
            " wrong",
            grave=True,
        )
    ]


def _beyond(log_length: float, spread: Spread) -> float:
    """How many times a length is the longest, or what part of the shortest, of the training; 1
    within.
    """
    if log_length > spread.high:
        return math.exp(log_length - spread.high)
    return math.exp(min(0.0, log_length - spread.low))


def _size(shape: Shape, norm: StructureNorm) -> list[Fault]:
    low, high = math.exp(norm.log_ml.low), math.exp(norm.log_ml.high)
    if shape.volume_ml < LEAST_FOUND_SHARE * low:
        return [Fault(f"hardly anything of it was found ({_ml(shape.volume_ml)})", grave=True)]
    if not low / VOLUME_MARGIN <= shape.volume_ml <= high * VOLUME_MARGIN:
        most = GRAVE * VOLUME_MARGIN
        grave = not low / most <= shape.volume_ml <= high * most
        return [
            Fault(
                f"its volume of {_ml(shape.volume_ml)} is outside the {_ml(low)} to {_ml(high)} of"
                " the training",
                grave,
            )
        ]
    longest_mm, spread = shape.lengths_mm[0], norm.log_mm[0]
    low_mm, high_mm = math.exp(spread.low), math.exp(spread.high)
    if not low_mm / LENGTH_MARGIN <= longest_mm <= high_mm * LENGTH_MARGIN:
        return [
            Fault(
                f"its length of {longest_mm:.0f} mm is outside the {low_mm:.0f} to {high_mm:.0f} mm"
                " of the training"
            )
        ]
    return []


def _ml(volume_ml: float) -> str:
    return f"{volume_ml:.2f} mL" if volume_ml < 10 else f"{volume_ml:.0f} mL"


def _parts(shape: Shape, norm: StructureNorm) -> list[Fault]:
    if shape.largest_share >= norm.largest_share.low - SHARE_MARGIN:
        return []
    return [Fault(f"{100 * (1 - shape.largest_share):.0f} % of it lie apart from the rest")]


def _neighbours(
    shape: Shape, norm: StructureNorm, by_label: Mapping[int, Structure]
) -> list[Fault]:
    name_of = {s.sideless_key: _name(s) for s in by_label.values()}
    touches = neighbours(shape, by_label)
    found = []
    for key, spread in norm.touches.items():
        share = touches.get(key, 0.0)
        if share < spread.low - SHARE_MARGIN or (share == 0 and spread.low > 0):
            found.append(
                Fault(
                    f"{100 * share:.0f} % of its surface adjoin the {name_of.get(key, key)}, at"
                    f" least {100 * spread.low:.0f} % in the training"
                )
            )
    return found


def _places(
    shapes: Mapping[int, Shape], by_label: Mapping[int, Structure], offsets: Sequence[Offset]
) -> list[tuple[int, Fault]]:
    """(label, fault) of structures that lie on the other side of another one."""
    found = []
    for offset in offsets:
        for first in (s for s in by_label.values() if s.sideless_key == offset.first):
            second = next(
                (
                    s
                    for s in by_label.values()
                    if s.sideless_key == offset.second and s.side == first.side
                ),
                None,
            )
            if second is None or first.label not in shapes or second.label not in shapes:
                continue
            between = offset_mm(shapes[first.label], shapes[second.label], first.side)
            if offset.sign * between[offset.axis] < 0:
                says = f"it does not lie {offset.in_words(first.side)} of the {_name(second)}"
                found.append((first.label, Fault(says, grave=True)))
    return found


def _sides(
    shapes: Mapping[int, Shape], by_label: Mapping[int, Structure]
) -> list[tuple[int, Fault]]:
    """(label, fault) of left structures that lie right of their right ones."""
    found = []
    for left in (s for s in by_label.values() if s.side == "left"):
        for right in by_label.values():
            if right.side != "right" or right.sideless_key != left.sideless_key:
                continue
            if left.label in shapes and right.label in shapes:
                x_left, x_right = (shapes[s.label].centre_ras[0] for s in (left, right))
                if x_left > x_right:
                    says = "it lies right of the right one"
                    found.append((left.label, Fault(says, grave=True)))
    return found


def _name(structure: Structure) -> str:
    """In lower case, as within a sentence; CSF stays CSF."""
    name = structure.name
    return name if name[:2].isupper() else name[:1].lower() + name[1:]
