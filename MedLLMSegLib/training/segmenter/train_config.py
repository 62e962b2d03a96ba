"""How to train a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, fields

from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.registry.config_checks import checked_kinds, config_from_json, json_object
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.segmenter.samples.augmentation import (
    USUAL_AUGMENTATION,
    VolumeAugmentation,
)


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How to train a segmenter: the loop's settings, and those of its samples and val cases.

    window: voxels (k, j, i) of a sample. noise_fraction: samples that are noise without organ.
    predict_window: voxels that go through the network at once when val cases are scored.
    """

    window: Triple = (40, 48, 40)
    noise_fraction: float = 0.03
    predict_window: Triple = (96, 96, 96)
    augmentation: VolumeAugmentation = USUAL_AUGMENTATION

    @classmethod
    def from_dict(cls, data: Json) -> TrainConfig:
        """From what ``asdict`` made of one, also after a journey through JSON.

        Entries of other versions are passed over.
        """
        data = json_object(data, "the training")
        known = {field.name for field in fields(cls)} - {"augmentation"}
        plain = {key: value for key, value in data.items() if key in known}
        augmentation = config_from_json(VolumeAugmentation, data.get("augmentation", {}))
        return cls(**checked_kinds(cls, _tuples(plain)), augmentation=augmentation)


def _tuples(data: Json) -> Json:
    """The lists of JSON as the tuples that they were."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
