"""What a classifier says of itself and of what it may be shown (no torch)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.config_checks import config_from_json

INPUTS = ("radiograph", "slices", "frames")
RADIOGRAPHY = ("CR", "DX", "RG")  # DICOM's modalities of flat X-ray images
FIRST = "image"  # what the first channel is called, as the table's column
NOT_STATED = "not stated: yours to decide"


@dataclass(frozen=True)
class InputConfig:
    """What a classifier is shown.

    kind: "radiograph" (one flat image), "slices" (a volume, slice by slice) or "frames" (several
    volumes in order, such as phases of the heart or of a contrast agent). modalities: DICOM's codes
    of what it was trained on; an image that states another is refused; () takes any. body_part: as
    DICOM calls it, in capitals; views: of radiographs; an image that states another gets a note.
    slices: of "frames", so many slices of each volume, evenly spaced, are the channels of a step.
    longest: at most so many steps of a sequence, evenly spaced; 0 for all. lungs: whether training
    images were cropped to the lungs by a mask; where none was, cropping an image gets a note.
    channels: further images of the same patient on the first one's pixels, such as a CT beside a
    PET: their names, in the order of the network's channels, each with the modalities that it was
    trained on; `modalities` is of the first.
    """

    kind: str = "radiograph"
    modalities: tuple[str, ...] = RADIOGRAPHY
    body_part: str = "CHEST"
    views: tuple[str, ...] = ("PA", "AP")
    slices: int = 1
    longest: int = 0
    lungs: bool = False
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        if self.kind not in INPUTS:
            raise UserError(
                f"InputConfig.kind is {self.kind!r}, and one of {', '.join(map(repr, INPUTS))} is"
                " needed."
            )
        if self.slices < 1 or self.longest < 0:
            raise UserError(
                f"InputConfig.slices is {self.slices} and longest {self.longest}; at least 1 and 0"
                " are needed."
            )
        wrong = [
            name for name in self.channels if name in ("", FIRST) or name != name.strip().lower()
        ]
        if wrong or (self.channels and self.kind != "radiograph"):
            raise UserError(
                f"InputConfig.channels is {list(self.channels)!r}, of the kind {self.kind!r}; names"
                " in small letters other "
                f'than "{FIRST}" are needed, and flat images.'
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of all channels, the first one's too; () where it has no names for them."""
        return (FIRST, *self.channels) if self.channels else ()

    @property
    def ct(self) -> bool:
        """Whether an image with values as a CT's is no mistake."""
        return not set(self.modalities) <= set(RADIOGRAPHY) or not self.modalities

    def of_channel(self, number: int) -> InputConfig:
        """What one of the channels is shown, counted from 0; where they have no names, or beyond
        the last, as the others.
        """
        if not self.channels:
            return self
        modalities = (self.modalities, *self.channels.values())[min(number, len(self.channels))]
        return replace(self, modalities=modalities, channels={})

    def to_dict(self) -> dict:
        """Without channels where there are none, as older versions wrote and read it."""
        return {name: value for name, value in asdict(self).items() if name != "channels" or value}

    @classmethod
    def from_dict(cls, data: dict) -> InputConfig:
        channels = {name: tuple(codes) for name, codes in data.get("channels", {}).items()}
        return config_from_json(cls, {**data, "channels": channels})


@dataclass(frozen=True)
class Typical:
    """What the training images look like on the average, to notice an image that is of another
    kind.

    mean: side x side numbers, row by row. limit: the correlation with it that 99 of 100 training
    images reach.
    """

    mean: tuple[float, ...]
    side: int
    limit: float

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> Typical:
        return config_from_json(cls, data)


@dataclass(frozen=True)
class About:
    """What goes into a classifier's bundle beside its network: facts, in words for its card, and
    what was measured.

    id, title, modality: for the list of models. data: whose, in words; licence: of the weights.
    threshold: of the second of two classes, chosen on val; None takes the likeliest class.
    temperature: what the logits are divided by, fitted on val. chosen: such as {"epoch", "val_auc",
    "trained_on", "chosen_on"}. training: its settings. typical: see there; None without. limits,
    intended_use, data_note: sentences for the card; "" for the usual ones.
    """

    id: str
    title: str
    modality: str = "X-ray"
    data: str = "not stated"
    licence: str = NOT_STATED
    input: InputConfig = InputConfig()
    threshold: float | None = None
    temperature: float = 1.0
    chosen: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    typical: Typical | None = None
    accept_licence: bool = False
    licence_note: str = ""
    data_note: str = ""
    intended_use: str = ""
    limits: str = ""
    references: tuple[str, ...] = ()
    authors: str = "not stated"
    version: str = "0.1.0"

    def __post_init__(self):
        if not self.id or not self.temperature > 0:
            raise UserError(
                f"A classifier needs an id and a temperature above 0; {self.id!r} and"
                f" {self.temperature!r} were given."
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UserError(
                f"The threshold is {self.threshold!r}, and a probability from 0 to 1 is needed."
            )
