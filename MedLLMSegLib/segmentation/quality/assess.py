"""A result with its quality: the Dice to expect, the lights, and the intervals of its volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import RED, Certainty, Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes

from .features import features_of
from .fitted import QualityFit
from .light import judge, judge_scan
from .sanity import check_sanity


def with_quality(
    segmentation: Segmentation, fit: QualityFit | None, domain: DomainVerdict | None = None
) -> Segmentation:
    """The result with its quality; as it is where nothing is known of it.

    segmentation: with all structures that were looked for. fit: of the model, None where there is
    none. domain: what is said of the scan, None where nothing is.
    """
    if fit is None:
        if domain is None or not domain.outside:  # no ground for a green light
            return segmentation
        return replace(segmentation, quality=ScanQuality(judge(domain=domain)))
    shapes = label_shapes(segmentation.labels)
    found = judge_all(shapes, segmentation.certainty, segmentation.structures, fit, domain)
    key_of = {s.label: s.sideless_key for s in segmentation.structures}
    intervals = {}
    if domain is None or not domain.outside:
        for label, dice in found.expected_dice.items():
            ends = fit.interval_ml(key_of[label], shapes[label].volume_ml, dice)
            if ends is not None and found.structures[label].light != RED:
                intervals[label] = ends
    quality = ScanQuality(found.scan, found.structures, intervals, fit.level)
    if fit.structures:
        segmentation = replace(segmentation, expected_dice=found.expected_dice)
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
) -> Judged:
    """Expected Dice and lights of a result, from its shapes and what the network is sure of.

    structures: that were looked for.
    """
    key_of = {s.label: s.sideless_key for s in structures}
    features = features_of(shapes, certainty, structures, fit.norms)
    guesses = {n: fit.expected_dice(key_of[n], own) for n, own in features.items()}
    expected = {label: dice for label, dice in guesses.items() if dice is not None}
    sanity = check_sanity(shapes, structures, fit.norms)
    graves = tuple(fault for fault in sanity.scan if fault.grave)  # count for every structure
    usual = {
        label: fit.structures[key].usual_dice
        for label, key in key_of.items()
        if key in fit.structures
    }
    lights = {
        label: judge(expected.get(label), (*graves, *faults), domain, usual.get(label))
        for label, faults in sanity.structures.items()
    }
    named = {s.name: lights[s.label] for s in structures if s.label in lights}
    return Judged(expected, lights, judge_scan(named, judge(faults=sanity.scan, domain=domain)))
