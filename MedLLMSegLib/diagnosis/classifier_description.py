"""What a classifier's bundle states besides its network and input (no torch)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.config_checks import config_from_json

from .input_description import InputConfig

NOT_STATED = "not stated: yours to decide"


@dataclass(frozen=True)
class TypicalImage:
    """The average of the training images, by which an image of another kind is noticed.

    mean: side x side numbers, row by row. limit: the correlation with it that 99 of 100 training
    images reach.
    """

    mean: tuple[float, ...]
    side: int
    limit: float

    def to_dict(self) -> Json:
        """JSON types; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> TypicalImage:
        """From JSON. Raises `UserError` for an unknown key."""
        return config_from_json(cls, data)


@dataclass(frozen=True)
class ClassifierDescription:
    """What goes into a classifier's bundle besides its network.

    id, title, modality: for the list of models. data: whose data it was trained on. licence: of
    the weights. input: the images it takes. threshold: of the second of two classes, chosen on the
    validation images; None: the likeliest class is the answer. temperature: what the logits are
    divided by, fitted on the validation images. chosen: {"epoch", "val_auc", "trained_on",
    "chosen_on", ...}; "temperature_not_fitted" and "threshold_chosen" say otherwise in the card.
    training: its settings. typical: the average training image, or None. limits, intended_use,
    data_note: sentences for the card; "" for the usual ones. seen: the images it was trained on and
    chosen by, as `SeenCases.to_dict` gives them; None where that is unknown.
    """

    id: str
    title: str
    modality: str = "X-ray"
    data: str = "not stated"
    licence: str = NOT_STATED
    input: InputConfig = field(default_factory=InputConfig)
    threshold: float | None = None
    temperature: float = 1.0
    chosen: Json = field(default_factory=dict)
    training: Json = field(default_factory=dict)
    typical: TypicalImage | None = None
    accept_licence: bool = False
    licence_note: str = ""
    data_note: str = ""
    intended_use: str = ""
    limits: str = ""
    references: tuple[str, ...] = ()
    authors: str = "not stated"
    version: str = "0.1.0"
    seen: Json | None = None

    def __post_init__(self) -> None:
        if not self.id or not self.temperature > 0:
            raise UserError(
                f"A classifier needs an id and a temperature above 0; {self.id!r} and"
                f" {self.temperature!r} were given."
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UserError(
                f"The threshold is {self.threshold!r}, and a probability from 0 to 1 is needed."
            )
