"""What a model takes besides the image, as its metadata says. No Qt, MRML or torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import ModelEntry, read_metadata
from MedLLMSegLib.registry.input_channels import channels_of

from .translation import _


@dataclass(frozen=True)
class ExtraInputs:
    """What a classifier takes besides the image.

    lungs: it crops the image to a mask of the lungs. fields: of the patient's record, as (name,
    hint on the values it may hold).
    """

    lungs: bool = False
    fields: tuple[tuple[str, str], ...] = ()


NO_EXTRA_INPUTS = ExtraInputs()


def has_sides(entry: ModelEntry) -> bool:
    """Whether a model outlines an organ with a left and a right side, and can be asked for one."""
    try:
        return bool(read_metadata(entry.folder).get("anatomy"))
    except UserError:  # `segment` will report what is wrong
        return False


def images_of(entry: ModelEntry) -> tuple[str, ...]:
    """The images of a patient that a segmenter takes, for people: "ct (CT in HU)", in order.

    () where it takes one without a name, or its metadata cannot be read.
    """
    try:
        settings = _section(read_metadata(entry.folder), "preprocessing")
        return tuple(map(str, channels_of(settings)))
    except UserError:  # `segment` will report what is wrong
        return ()


def extra_inputs_of(entry: ModelEntry | None) -> ExtraInputs:
    """What a classifier takes besides the image.

    Nothing without a classifier, or if its metadata cannot be read (`diagnose` reports that).
    """
    if entry is None:
        return NO_EXTRA_INPUTS
    try:
        return _from_metadata(read_metadata(entry.folder))
    except (UserError, TypeError):  # TypeError: values of an unexpected type
        return NO_EXTRA_INPUTS


def _from_metadata(metadata: dict) -> ExtraInputs:
    is_radiograph = _section(metadata, "input").get("kind", "radiograph") == "radiograph"
    crops_to_lungs = _section(metadata, "preparation").get("crop") == "lungs"
    record = _section(_section(metadata, "network"), "record")
    numbers = tuple((str(name), _("a number")) for name in record.get("numbers") or ())
    categories = tuple(
        (str(name), _("one of {values}").format(values=", ".join(map(str, values))))
        for name, values in _section(record, "categories").items()
    )
    return ExtraInputs(crops_to_lungs and is_radiograph, numbers + categories)


def _section(metadata: dict, name: str) -> dict[str, Any]:
    """A part of the metadata; empty if it is missing or not an object."""
    value = metadata.get(name)
    return value if isinstance(value, dict) else {}
