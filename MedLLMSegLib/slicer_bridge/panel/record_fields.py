"""What a model can be told besides the image, as its description says. Neither Qt, MRML nor
torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import ModelEntry, read_metadata
from MedLLMSegLib.slicer_bridge.translation import _


@dataclass(frozen=True)
class Asks:
    """lungs: a mask of the lungs, to which it crops the image. fields: of a patient's record,
    (name, what it may hold) each.
    """

    lungs: bool = False
    fields: tuple[tuple[str, str], ...] = ()


def has_sides(entry: ModelEntry) -> bool:
    """Whether a model that outlines an organ with two sides can be asked for one of them."""
    try:
        return bool(read_metadata(entry.folder).get("anatomy"))
    except UserError:  # `segment` says what is wrong
        return False


def asks_of(entry: ModelEntry | None) -> Asks:
    """What a classifier asks for; nothing if there is none, or if its description cannot be read
    (`diagnose` says so).
    """
    try:
        return _asks(read_metadata(entry.folder)) if entry is not None else Asks()
    except (UserError, TypeError):  # TypeError: values of other kinds than ours
        return Asks()


def _asks(about: dict) -> Asks:
    part = lambda name, of=about: of.get(name) if isinstance(of.get(name), dict) else {}
    lungs = (
        part("preparation").get("crop") == "lungs"
        and part("input").get("kind", "radiograph") == "radiograph"
    )
    record = part("record", part("network"))
    numbers = tuple((str(name), _("a number")) for name in record.get("numbers") or ())
    categories = tuple(
        (str(name), _("one of {values}").format(values=", ".join(map(str, values))))
        for name, values in part("categories", record).items()
    )
    return Asks(lungs, numbers + categories)
