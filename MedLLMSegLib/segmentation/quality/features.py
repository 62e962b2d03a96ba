"""What a result says of its own quality: numbers for each structure, from the network's certainty
and from how the outline differs from those of training.

All are 0 or near it for a good outline and grow as it gets worse, so that the regression over them
(`fitted`) may be held to one direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from MedLLMSegLib.core.quality import Certainty
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.label_shape import Shape

from .norms import Norms, StructureNorm, neighbours

MOST = 8.0  # deviations: what is further off is no worse

Features = dict[str, float]


def features_of(
    shapes: Mapping[int, Shape],
    certainty: Mapping[int, Certainty],
    structures: Sequence[Structure],
    norms: Norms,
) -> dict[int, Features]:
    """Label -> name -> number, of the structures that were found and that the norms know."""
    by_label = {s.label: s for s in structures}
    means = {label: own.mean for label, own in certainty.items() if label in shapes}
    volumes_ml = {label: shape.volume_ml for label, shape in shapes.items()}
    coarse = coarse_features(volumes_ml, means, structures, norms)
    return {
        label: {
            **own,
            "doubtful_share": certainty[label].doubtful,
            "around": math.log1p(certainty[label].around),
            **_unlike_training(
                shapes[label],
                neighbours(shapes[label], by_label),
                norms.structures[by_label[label].sideless_key],
            ),
        }
        for label, own in coarse.items()
    }


def coarse_features(
    volumes_ml: Mapping[int, float],
    confidence: Mapping[int, float],
    structures: Sequence[Structure],
    norms: Norms,
) -> dict[int, Features]:
    """Those features that need no more than a table of volumes and mean probabilities.

    confidence: of the structures that were found.
    """
    key_of = {s.label: s.sideless_key for s in structures}
    found = [label for label in volumes_ml if label in key_of and label in confidence]
    if not found:
        return {}
    doubts = {label: doubt_of(confidence[label]) for label in found}
    about_scan = {
        "scan_doubt": float(np.mean(list(doubts.values()))),
        "worst_doubt": max(doubts.values()),
        "missing": 1 - len(found) / len(structures),
    }
    return {
        label: {
            "doubt": doubts[label],
            **about_scan,
            **_unlike_volume(volumes_ml[label], norms.structures[key_of[label]]),
        }
        for label in found
        if key_of[label] in norms.structures
    }


def _unlike_volume(volume_ml: float, norm: StructureNorm) -> Features:
    off = norm.log_ml.off(math.log(volume_ml))
    return {"small": min(MOST, max(0.0, -off)), "large": min(MOST, max(0.0, off))}


def doubt_of(probability: float) -> float:
    """The negative logit of a mean probability, from about -5 (sure) to 0 (as likely as not)."""
    p = min(max(probability, 0.01), 0.995)
    return -math.log(p / (1 - p))


def _unlike_training(shape: Shape, touches: Mapping[str, float], norm: StructureNorm) -> Features:
    lengths = [
        abs(spread.off(math.log(max(length, 0.1))))
        for spread, length in zip(norm.log_mm, shape.lengths_mm, strict=True)
    ]
    lost = [max(0.0, -spread.off(touches.get(key, 0.0))) for key, spread in norm.touches.items()]
    values = {
        "lengths": float(np.mean(lengths)),
        "rough": abs(norm.log_roughness.off(math.log(shape.roughness))),
        "parts": max(0.0, -norm.largest_share.off(shape.largest_share)),
        "at_border": max(0.0, norm.border_share.off(shape.border_share)),
        "neighbours": float(np.mean(lost)) if lost else 0.0,
    }
    return {name: min(MOST, value) for name, value in values.items()}
