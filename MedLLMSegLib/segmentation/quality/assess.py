"""A result with its quality: the Dice to expect, the lights, and the intervals of its volumes."""

from __future__ import annotations

from dataclasses import replace

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.metrics.label_shape import label_shapes

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
    features = features_of(shapes, segmentation.certainty, segmentation.structures, fit.norms)
    key_of = {s.label: s.sideless_key for s in segmentation.structures}
    guesses = {n: fit.expected_dice(key_of[n], own) for n, own in features.items()}
    expected = {label: dice for label, dice in guesses.items() if dice is not None}
    sanity = check_sanity(shapes, segmentation.structures, fit.norms)
    of_structures = {
        label: judge(
            expected.get(label),
            faults,
            domain,
            fit.structures[key_of[label]].usual_dice if key_of[label] in fit.structures else None,
        )
        for label, faults in sanity.structures.items()
    }
    name_of = {s.label: s.name for s in segmentation.structures}
    named = {name_of[label]: light for label, light in of_structures.items()}
    of_scan = judge_scan(named, judge(faults=sanity.scan, domain=domain))
    intervals = {}
    if domain is None or not domain.outside:
        for label, dice in expected.items():
            ends = fit.interval_ml(key_of[label], shapes[label].volume_ml, dice)
            if ends is not None:
                intervals[label] = ends
    quality = ScanQuality(of_scan, of_structures, intervals, fit.level)
    return replace(segmentation, expected_dice=expected, quality=quality)
