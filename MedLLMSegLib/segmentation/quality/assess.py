"""A result with its quality: the Dice to expect, the lights, and the intervals of its volumes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import GREEN, RED, Certainty, Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes
from MedLLMSegLib.registry.trained_range import range_notes

from .features import features_of
from .fitted import QualityFit
from .light import Fault, judge, judge_scan
from .sanity import check_sanity


def with_quality(
    segmentation: Segmentation,
    fit: QualityFit | None,
    domain: DomainVerdict | None = None,
    not_whole: Collection[int] = (),
    beyond: Sequence[str] = (),
) -> Segmentation:
    """The result with its quality; as it is where nothing is known of it.

    segmentation: with all structures that were looked for. fit: of the model, None where there is
    none. domain: what is said of the scan, None where nothing is. not_whole: labels of which only a
    part was searched, or nothing (`region.not_whole`); nothing is said of these. beyond: what of
    the scan lies beyond the training (`TrainedRange.beyond`), which a note says, too.
    """
    if beyond:
        segmentation = replace(segmentation, notes=(*segmentation.notes, *range_notes(beyond)))
    if fit is None:
        if domain is None or not domain.outside:  # no ground for a green light
            return segmentation
        return replace(segmentation, quality=ScanQuality(judge(domain=domain)))
    shapes = label_shapes(segmentation.labels)
    structures = segmentation.structures
    found = judge_all(shapes, segmentation.certainty, structures, fit, domain, not_whole, beyond)
    key_of = {s.label: s.sideless_key for s in structures}
    intervals = {}
    if domain is None or not domain.outside:
        for label, dice in found.expected_dice.items():
            ends = fit.interval_ml(key_of[label], shapes[label].volume_ml, dice)
            if ends is not None and found.structures[label].light != RED:
                intervals[label] = ends
    if fit.structures:
        segmentation = replace(segmentation, expected_dice=found.expected_dice)
    if not found.structures and found.scan.light == GREEN:  # nothing was judged
        return segmentation
    quality = ScanQuality(found.scan, found.structures, intervals, fit.level)
    return replace(segmentation, quality=quality)


@dataclass(frozen=True)
class Judged:
    """expected_dice: label -> 0 to 1, of what was found and the fit knows. structures: label ->
    light, of what the norms know. scan: the light of all together.
    """

    expected_dice: dict[int, float]
    structures: dict[int, Quality]
    scan: Quality


def judge_all(
    shapes: Mapping[int, Shape],
    certainty: Mapping[int, Certainty],
    structures: Sequence[Structure],
    fit: QualityFit,
    domain: DomainVerdict | None = None,
    not_whole: Collection[int] = (),
    beyond: Sequence[str] = (),
) -> Judged:
    """Expected Dice and lights of a result, from its shapes and what the network is sure of.

    structures: that were looked for. not_whole, beyond: as for `with_quality`.
    """
    # One that was cut off still is a neighbour, and one outside the region is not missing.
    structures = [s for s in structures if s.label in shapes or s.label not in not_whole]
    whole = {label: shape for label, shape in shapes.items() if label not in not_whole}
    key_of = {s.label: s.sideless_key for s in structures}
    features = features_of(shapes, certainty, structures, fit.norms)
    guesses = {n: fit.expected_dice(key_of[n], features[n]) for n in features if n in whole}
    expected = {label: dice for label, dice in guesses.items() if dice is not None}
    sanity = check_sanity(whole, structures, fit.norms)
    graves = tuple(fault for fault in sanity.scan if fault.grave)  # count for every structure
    usual = {
        label: fit.structures[key].usual_dice
        for label, key in key_of.items()
        if key in fit.structures
    }
    lights = {
        label: judge(expected.get(label), (*graves, *faults), domain, usual.get(label))
        for label, faults in sanity.structures.items()
        if label not in not_whole
    }
    named = {s.name: lights[s.label] for s in structures if s.label in lights}
    faults = (*sanity.scan, *(Fault(f"the scan has {what}") for what in beyond))
    return Judged(expected, lights, judge_scan(named, judge(faults=faults, domain=domain)))
