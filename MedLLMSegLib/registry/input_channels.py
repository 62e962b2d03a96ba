"""Which images of one patient a segmenter takes: the channels of its input (no torch).

A bundle's "preprocessing" lists them under "channels", in the order of the network's input. A
bundle without that list takes one image, of which its "modality" is all that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.types import Json

from .config_checks import config_from_json
from .scan_words import MODALITIES, stands_for, words_of

# Lowest and highest grey value, mean and standard deviation of all training scans together.
GreyScale: TypeAlias = tuple[float, float, float, float]

FIELD = "channels"  # of a bundle's "preprocessing"
HU, SUV = "HU", "SUV"
# Modality -> the unit in which its numbers mean the same in each scan.
UNITS = {"CT": HU, "PT": SUV}
MODALITY_NAMES = {"PT": "PET", "NM": "nuclear medicine", "US": "ultrasound"}


@dataclass(frozen=True)
class InputChannel:
    """One image of a patient.

    name: small letters, digits, hyphens and underscores, such as "pet". modality: DICOM's code, ""
    where it is not known. unit: "HU", "SUV" by body weight, or "" where numbers mean nothing by
    themselves, as in MR. grey: one normalisation for all scans (`segmentation.prepare.normalise`);
    None for each scan by itself.
    """

    name: str
    modality: str = ""
    unit: str = ""
    grey: GreyScale | None = None

    def __post_init__(self) -> None:
        letters = self.name.replace("-", "").replace("_", "")
        if not letters.isalnum() or self.name != self.name.lower():
            raise UserError(
                f"A channel is called {in_short(repr(self.name))}, and small letters, digits,"
                ' hyphens and underscores are needed, such as "pet".'
            )

    @classmethod
    def named(cls, name: str) -> InputChannel:
        """A channel whose name says what it is: "ct", "PET", "t1_mr"."""
        plain = "_".join(name.casefold().split())
        found = stands_for(words_of(plain.replace("_", " ")), MODALITIES)
        modality = next(iter(found)) if len(found) == 1 else ""
        return cls(plain, modality, UNITS.get(modality, ""))

    def __str__(self) -> str:
        """For people, such as "pet (PET in SUV)"."""
        kind = modality_name(self.modality)
        unit = f" in {self.unit}" if self.unit else ""
        return f"{self.name} ({kind}{unit})" if kind or unit else self.name


def modality_name(code: str) -> str:
    """DICOM's code of a modality for people."""
    return MODALITY_NAMES.get(code, code)


def channels_of(settings: Json) -> tuple[InputChannel, ...]:
    """The channels in a bundle's "preprocessing"; () where it lists none.

    Raises `UserError` for a damaged list, and for a name used twice.
    """
    stated = settings.get(FIELD) or ()
    if not isinstance(stated, Sequence) or isinstance(stated, str):
        raise UserError("The list of the model's channels is damaged; install the model again.")
    channels = tuple(
        each if isinstance(each, InputChannel) else config_from_json(InputChannel, each)
        for each in stated
    )
    check_names([channel.name for channel in channels])
    return channels


def check_names(names: Sequence[str]) -> None:
    """Raise `UserError` where two channels have one name."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'Two channels are called "{name}"; give each a name of its own.')


def channels_as_json(channels: Sequence[InputChannel]) -> list[Json]:
    """As in a bundle's "preprocessing"."""
    return [asdict(channel) for channel in channels]


def normalisation_text(grey: GreyScale | None) -> str:
    """How an image is normalised, for people."""
    if grey is None:
        return "percentile 0.5-99.5, z-score"
    low, high, mean, deviation = grey
    return f"{low:g} to {high:g}, minus {mean:g}, divided by {deviation:g}"


def listed(channels: Sequence[InputChannel]) -> str:
    """All of them for people."""
    return ", ".join(map(str, channels))
