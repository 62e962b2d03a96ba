"""Which images a classifier takes: their kind, modalities, views and channels (no torch)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.config_checks import config_from_json

INPUTS = ("radiograph", "slices", "frames")
RADIOGRAPHY = ("CR", "DX", "RG")  # DICOM's modalities of flat X-ray images
FIRST_CHANNEL = "image"  # the name of the first channel, and of the table's column


@dataclass(frozen=True)
class InputConfig:
    """Which images a classifier takes.

    kind: "radiograph" (one flat image), "slices" (a volume, slice by slice) or "frames" (several
    volumes in order, such as phases of the heart or of a contrast agent). modalities: DICOM's codes
    of the training images; an image that states another code is refused; () accepts any. body_part:
    as DICOM calls it, in capitals. views: of radiographs. An image that states another body part or
    view gets a note. slices: of "frames", how many slices of each volume, evenly spaced, are the
    channels of a step. longest: the most steps of a sequence, evenly spaced; 0 for all. lungs:
    whether training images were cropped to the lungs by a mask; if not, cropping an image gets a
    note. channels: further images of the same patient on the first one's pixels, such as a CT of a
    PET: name -> modalities of its training images, in the order of the network's channels;
    `modalities` is of the first.
    """

    kind: str = "radiograph"
    modalities: tuple[str, ...] = RADIOGRAPHY
    body_part: str = "CHEST"
    views: tuple[str, ...] = ("PA", "AP")
    slices: int = 1
    longest: int = 0
    lungs: bool = False
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
            name
            for name in self.channels
            if name in ("", FIRST_CHANNEL) or name != name.strip().lower()
        ]
        if wrong or (self.channels and self.kind != "radiograph"):
            raise UserError(
                f"InputConfig.channels is {list(self.channels)!r}, of the kind {self.kind!r}; names"
                f' in small letters other than "{FIRST_CHANNEL}" are needed, and flat images.'
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all channels; () for a model without named channels."""
        return (FIRST_CHANNEL, *self.channels) if self.channels else ()

    @property
    def ct(self) -> bool:
        """Whether an image with the values of a CT is accepted."""
        return not set(self.modalities) <= set(RADIOGRAPHY) or not self.modalities

    def of_channel(self, number: int) -> InputConfig:
        """The description of one channel, counted from 0.

        Without named channels it is that of all; beyond the last channel, that of the last.
        """
        if not self.channels:
            return self
        modalities = (self.modalities, *self.channels.values())[min(number, len(self.channels))]
        return replace(self, modalities=modalities, channels={})

    def to_dict(self) -> Json:
        """JSON types; without channels the key is left out, as in older versions."""
        return {name: value for name, value in asdict(self).items() if name != "channels" or value}

    @classmethod
    def from_dict(cls, data: Json) -> InputConfig:
        """From JSON. Raises `UserError` for an unknown key."""
        channels = {name: tuple(codes) for name, codes in data.get("channels", {}).items()}
        return config_from_json(cls, {**data, "channels": channels})
