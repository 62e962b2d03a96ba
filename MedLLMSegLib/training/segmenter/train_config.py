"""How to train a segmenter, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.training.segmenter.samples.augmentation import (
    USUAL_AUGMENTATION,
    VolumeAugmentation,
)


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    steps: optimiser updates in all. batch: samples of a step, over all processes. window: voxels
    (k, j, i) of a sample. optimiser: one of `optimiser.OPTIMISERS`. noise_fraction: samples that
    are noise without organ. validate_every: steps. look_first: score the weights that it begins
    with too. patience: validations without a better score after which training stops early; 0
    never. predict_window: voxels that go through the network at once when val cases are scored.
    log_every: steps of a line of history. workers: processes that make samples; 0 makes them here.
    """

    steps: int = 3000
    batch: int = 2
    window: Triple = (40, 48, 40)
    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 150
    clip: float = 1.0
    ema: float = 0.995
    noise_fraction: float = 0.03
    validate_every: int = 300
    look_first: bool = False
    patience: int = 0
    precision: str = "fp32"
    predict_window: Triple = (96, 96, 96)
    augmentation: VolumeAugmentation = USUAL_AUGMENTATION
    log_every: int = 10
    checkpoint_s: float = 120.0
    workers: int = 0
    seed: int = 0

    @classmethod
    def from_dict(cls, data: Json) -> TrainConfig:
        """From what ``asdict`` made of one, also after a journey through JSON.

        Entries of other versions are passed over.
        """
        known = {field.name for field in fields(cls)} - {"augmentation"}
        plain = {key: value for key, value in data.items() if key in known}
        augmentation = VolumeAugmentation(**_tuples(data["augmentation"]))
        return cls(**_tuples(plain), augmentation=augmentation)


def _tuples(data: Json) -> Json:
    """The lists of JSON as the tuples that they were."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}


@dataclass(frozen=True)
class TrainResult:
    """What came of a training. stopped: "finished", or "early" when val got no better any more."""

    best_val_dice: float
    steps: int
    seconds: float
    stopped: str
