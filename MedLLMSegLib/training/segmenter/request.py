"""What a user asks of a training, checked as far as it can be without the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.registry.catalogue import plain_id
from MedLLMSegLib.training.optimiser import check_optimiser

AUGMENTATIONS = ("usual", "strong", "scanners")
OF_NETWORK = (
    "preset",
    "llm",
    "llm_layer",
    "llm_position",
)  # which a model that is fine-tuned has already


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks for; None leaves the choice to the plan.

    source: a Decathlon folder, a CSV or a folder of Slicer segmentations (see `cases.read_cases`).
    output: the run's folder. start: a bundle (id or folder) to fine-tune. cases: so many training
    cases only, drawn by seed in whole groups. minutes: time for the training itself, with its
    validations (`speed.py`); steps: the number of updates instead. preset, llm, llm_layer,
    llm_position: the network. structures: names of the labels 1, 2 ... where the source states
    none. window, spacing: (k, j, i) of a sample in voxels and of the network's grid in mm.
    validations: how many; within ``minutes`` this many at most. optimiser: one of
    `optimiser.OPTIMISERS`. augmentation: one of `AUGMENTATIONS` (`VolumeAugmentation.stronger`,
    `VolumeAugmentation.for_scanners`). channels: names of the images of a case to train on, in
    order, or what they are called where the source names none; () for all. folds, fold: train the
    fold ``fold`` (from 0) of ``folds``, in place of the stated splits (`cross_validation.py`).
    anatomy: "hippocampus" for crops around one hippocampus, which are found in whole heads by a
    localizer.
    """

    source: str
    output: str
    name: str = ""
    title: str = ""
    modality: str = ""
    licence: str = ""
    data: str = ""
    start: str | None = None
    cases: int | None = None
    minutes: float | None = None
    steps: int | None = None
    preset: str = "medvisionllama"
    llm: str | None = None
    llm_layer: int | None = None
    llm_position: str | None = None
    anatomy: str | None = None
    structures: tuple[str, ...] = ()
    batch: int | None = None
    window: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    optimiser: str = field(default="muon", metadata={"before": "adamw"})
    lr: float | None = None
    augmentation: str = "usual"
    precision: str | None = None
    patience: int = 8
    validations: int = 20
    seed: int = 0
    folds: int | None = None
    fold: int | None = None
    channels: tuple[str, ...] = ()

    @classmethod
    def from_message(cls, fields: Mapping[str, Any]) -> TrainRequest:
        """The request of a message's fields, in which lists stand for tuples. Raises `UserError`
        for unknown or missing fields and for values of other types.
        """
        types = get_type_hints(cls)
        wrong = [
            name for name in fields if name not in types or not _fits(fields[name], types[name])
        ]
        wrong += [name for name in ("source", "output") if name not in fields]
        if wrong:
            raise UserError(
                f"The request to train has no valid {in_short(wrong[0])!r}; start the training"
                " again."
            )
        values: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()
        }
        values["window"] = values.get("window") or None
        return cls(**values)

    def __post_init__(self):
        if self.minutes is not None and self.steps is not None:
            raise UserError("--minutes and --steps both say how long to train; give one of them.")
        for name in (
            "minutes",
            "steps",
            "cases",
            "batch",
            "lr",
            "validations",
            "window",
            "spacing",
        ):
            value = getattr(self, name)
            if value is not None and not all(
                0 < v < math.inf for v in (value if isinstance(value, (tuple, list)) else (value,))
            ):
                raise UserError(f"--{name} is {value}, and must be above 0 and not infinite.")
        for name in ("seed", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} is {getattr(self, name)}, and must be 0 or more.")
        own = [name for name in OF_NETWORK if getattr(self, name) != getattr(TrainRequest, name)]
        if self.start and own:
            raise UserError(
                f"--{own[0].replace('_', '-')} chooses a network, and --from keeps that of"
                f" {self.start}; give one of them."
            )
        if self.anatomy and self.spacing and len(set(self.spacing)) > 1:
            raise UserError(
                f"--spacing is {' '.join(f'{s:g}' for s in self.spacing)}, and crops around an"
                " organ (--anatomy) need one spacing for all axes."
            )
        if self.name and self.name != plain_id(self.name):
            raise UserError(
                f'--name is "{self.name}", and a model is named by lower-case letters, digits and'
                f' hyphens; use "{plain_id(self.name) or "model"}", and --title for the rest.'
            )
        check_optimiser(self.optimiser)
        if self.augmentation not in AUGMENTATIONS:
            raise UserError(
                f'--augmentation is "{self.augmentation}"; use {", ".join(AUGMENTATIONS[:-1])} or'
                f" {AUGMENTATIONS[-1]}."
            )


def _fits(value: object, wanted: Any) -> bool:
    """Whether a value from JSON is of a field's type, such as ``tuple[int, ...] | None``."""
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        return isinstance(value, (list, tuple)) and all(_fits(v, inner) for v in value)
    if get_args(wanted):
        return any(_fits(value, one) for one in get_args(wanted))
    if isinstance(value, bool):
        return wanted is bool
    number = isinstance(value, (int, float)) and abs(value) < 1e300
    return number if wanted is float else isinstance(value, wanted)
