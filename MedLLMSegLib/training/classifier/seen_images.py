"""Which images a classifier has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from MedLLMSegLib.data.case_digest import marks_of_images
from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.registry.classifier_config import ClassifierConfig
from MedLLMSegLib.registry.seen_cases import SeenCases

# They begin as random numbers, or were trained on ImageNet, which holds no medical image.
KNOWN_ENCODERS = ("cnn", "vit", "efficientnet-lite0")


def seen_images(config: ClassifierConfig, cases: Mapping[str, Sequence[ImageCase]]) -> SeenCases:
    """What a classifier has seen that was trained on these splits.

    config: of its network. An encoder from a user's folder may have seen any image. cases: by
    split; "train" was trained on, and "val" chose the epoch, the temperature and the threshold.
    """
    return SeenCases(
        train=marks_of_images(cases["train"]),
        val=marks_of_images(cases["val"]),
        known=config.encoder.kind in KNOWN_ENCODERS,
    )
