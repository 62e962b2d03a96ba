"""Label maps of two neighbouring organs, as training cases and as results."""

import numpy as np

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.core.quality import Certainty
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import label_shapes
from MedLLMSegLib.segmentation.quality.fitted import QualityFit, StructureFit
from MedLLMSegLib.segmentation.quality.norms import learn_norms

STRUCTURES = named_structures({1: "core", 2: "shell"})
SHAPE = (40, 44, 48)


def organ(radius=9.0, centre_i=24.0, shell=4.0, spacing=1.0):
    """uint8 labels of a ball (1), and beside it to the right a larger one around its side (2)."""
    k, j, i = np.indices(SHAPE, float)
    distance = np.hypot(np.hypot(k - 20, j - 22), i - centre_i)
    labels = np.zeros(SHAPE, np.uint8)
    labels[(distance < radius + shell) & (i > centre_i - 2)] = 2
    labels[distance < radius] = 1
    return Volume(labels, np.diag([spacing, spacing, spacing, 1.0]), "organ")


def norms():
    """Of seven training cases between 8 and 10 mm."""
    cases = [(label_shapes(organ(radius)), STRUCTURES) for radius in np.linspace(8, 10, 7)]
    return learn_norms(cases)


def fit(interval=1.0):
    """Expects a Dice of 0.95 where nothing is odd, and less for doubt."""
    slopes = {"doubt": 1.0, "doubtful_share": 2.0, "small": 0.2, "large": 0.2}
    return QualityFit(
        slopes, dict.fromkeys(("core", "shell"), StructureFit(0.0, 0.9, interval)), norms()
    )


def result(labels, mean=0.95, doubtful=0.0):
    """A segmentation with these labels, equally sure of both structures."""
    present = [s.label for s in STRUCTURES if (labels.array == s.label).any()]
    certainty = {label: Certainty(mean, doubtful, 0.05) for label in present}
    confidence = {s.label: mean if s.label in present else float("nan") for s in STRUCTURES}
    return Segmentation(labels, STRUCTURES, confidence, certainty=certainty, model="m")
