"""The localizer's figures: how accurate and steady it is, and whether it refuses other scans.

    python -m MedLLMSegLib.evaluation.evaluate_localizer --data ../shared/data \\
        [--template T1.nii.gz]
    python -m MedLLMSegLib.evaluation.evaluate_localizer --data ../shared/data \\
        --weights runs/localizer/localizer.pt --write FOLDER

The second form measures freshly trained weights and writes them, with the figures, as a bundle.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES
from MedLLMSegLib.segmentation.localize import SIDES, Localizer, localize
from MedLLMSegLib.training.localizer.localizer_batches import HELD_OUT, load_heads
from MedLLMSegLib.training.localizer.validate_localizer import error_summary, load_trained, validate

from .localizer_bundle import write_localizer
from .localizer_test_scans import scans_without_hippocampi, synthetic_scan, variants

BUNDLE = BUNDLES / "brain-t1-localizer"
BOUNDS = (
    "on synthetic images the median is below 3 mm, the worst below 8 mm, and no side is swapped"
)


def find_centres(volume: Volume, localizer: Localizer) -> dict[str, Array]:
    """Side -> (3,) RAS mm; empty when the localizer refuses the scan."""
    try:
        return {place.side: np.array(place.centre_ras) for place in localize(volume, localizer)}
    except UserError:
        return {}


def measure_localizer(
    localizer: Localizer, data: Path, template: Path | None, images: int, scans: int
) -> Json:
    """All figures as plain JSON types.

    data: folder with brain_labelmaps and samples. template: a second head. images: synthetic images
    of kept-out heads. scans: synthetic scans of each of these heads.
    """
    label_maps = data / "brain_labelmaps"
    results: Json = {
        "kept_out_synthetic": validate(localizer, load_heads(label_maps, held_out=True), images),
        "kept_out_whole_scans": _measure_synthetic_scans(localizer, label_maps, scans),
    }
    heads = {"head_t1": data / "samples" / "head_t1.nii.gz"}
    if template:
        heads["template"] = template
    for name, path in heads.items():
        results[f"moved_mm_{name}"] = measure_steadiness(load_volume(path), localizer)
    results["refused"] = {
        scan.name: not find_centres(scan, localizer) for scan in scans_without_hippocampi(data)
    }
    return results


def _measure_synthetic_scans(localizer: Localizer, label_maps: Path, scans: int) -> Json:
    """Centre errors, swapped and missed sides in synthetic scans of the kept-out heads."""
    errors_mm: list[float] = []
    missed = swapped = 0
    for n, number in itertools.product(range(scans), HELD_OUT):
        path = label_maps / f"training_seg_{number:02d}.nii.gz"
        volume, truth = synthetic_scan(path, np.random.default_rng([n, number]))
        centres = find_centres(volume, localizer)
        missed += len(SIDES) - len(centres)
        errors_mm += [_distance_mm(centres[side], truth[side]) for side in centres]
        swapped += _swapped_sides(centres, truth)
    return {
        "scans": len(HELD_OUT) * scans,
        **error_summary(errors_mm),
        "swapped": swapped,
        "missed": missed,
    }


def _swapped_sides(centres: Mapping[str, Array], truth: Mapping[str, Array]) -> int:
    """The number of centres that lie nearer to the other side's truth than to their own."""
    return sum(
        _distance_mm(centres[side], truth[other]) < _distance_mm(centres[side], truth[side])
        for side, other in zip(SIDES, SIDES[::-1], strict=True)
        if side in centres
    )


def _distance_mm(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b))


def measure_steadiness(volume: Volume, localizer: Localizer) -> Json:
    """How far (mm) each group of variants moves the centres at most; infinite where a side is lost.

    "found" holds the centres in the scan itself.
    """
    centres = find_centres(volume, localizer)
    found = {side: np.round(centre, 1).tolist() for side, centre in centres.items()}
    if len(centres) < len(SIDES):
        return {"found": found}
    moved_mm: dict[str, float] = {}
    for group, variant in variants(volume, centres):
        moved = find_centres(variant, localizer)
        nowhere = np.full(3, np.inf)
        worst = max(_distance_mm(moved.get(side, nowhere), centres[side]) for side in SIDES)
        moved_mm[group] = round(max(moved_mm.get(group, 0.0), worst), 2)
    return {"found": found, **moved_mm}


def failures(results: Json) -> list[str]:
    """What falls short of `BOUNDS`, or of the bounds on missed and false sides, steadiness and
    refusals.
    """
    short = []
    for name in ("kept_out_synthetic", "kept_out_whole_scans"):
        if not _is_accurate(results[name]):
            short.append(name)
    # These bounds are our own choice: a scan that is missed can be cropped by hand, but a wrong
    # centre misleads.
    images, scans = results["kept_out_synthetic"], results["kept_out_whole_scans"]
    sides = 2 * scans["scans"]
    if scans["missed"] > 0.05 * sides:
        short.append(f"{scans['missed']} of {sides} sides missed in whole scans")
    if images["false"] > 0.02 * images["sides_out_of_view"]:
        short.append(f"{images['false']} sides reported that were out of view")
    for name, figures in results.items():
        if name.startswith("moved_mm_"):
            short += _unsteady(name, figures)
    refused = results["refused"]
    return short + [f"not refused: {name}" for name in refused if not refused[name]]


def _is_accurate(figures: Json) -> bool:
    """Whether centre errors lie within `BOUNDS`."""
    if figures["median_mm"] is None:
        return False
    within: bool = figures["median_mm"] < 3 and figures["worst_mm"] < 8
    return within and figures["swapped"] == 0


def _unsteady(name: str, moved_mm: Json) -> list[str]:
    """The groups of variants that moved a centre by 3 mm or more, or that nothing was found."""
    far = [group for group in moved_mm if group != "found" and not moved_mm[group] < 3]
    if far:
        return [f"{name}: {group}" for group in far]
    return [] if len(moved_mm["found"]) == len(SIDES) else [f"{name}: not found"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the shared data: brain_labelmaps and samples")
    add("--template", type=Path, help="a second head, such as nilearn's MNI template")
    add("--bundle", type=Path, default=BUNDLE)
    add("--weights", type=Path, help="measure localizer.pt of a training instead of the bundle")
    add("--write", type=Path, metavar="FOLDER", help="write what was measured as a bundle")
    add("--note", default="not noted.", help="how it was trained, for the card")
    add("--images", type=int, default=200, help="synthetic images of kept-out heads")
    add("--scans", type=int, default=8, help="whole synthetic scans of each kept-out head")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and maybe write; returns 1 where something falls short."""
    options = _parser().parse_args(arguments)
    if options.weights:
        localizer = load_trained(options.weights)
    else:
        localizer = Localizer.from_bundle(read_bundle(options.bundle))
    results = measure_localizer(
        localizer, options.data, options.template, options.images, options.scans
    )
    print(json.dumps(results, indent=1))
    short = failures(results)
    print("\n".join(f"FALLS SHORT  {line}" for line in short) or f"nothing falls short: {BOUNDS}")
    if options.write:
        write_localizer(localizer, results, options.write, options.note)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
