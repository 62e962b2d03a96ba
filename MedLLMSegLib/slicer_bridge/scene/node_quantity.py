"""What the numbers of a volume node measure: Hounsfield units, SUV, or a PET's own unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Quantity, Volume

from .flat_images import modality_of
from .volume_nodes import read_volume


def measured_volume(node) -> Volume:
    """As `read_volume`, with what the numbers measure as far as the scene knows it."""
    return replace(read_volume(node), quantity=quantity_of_node(node))


def quantity_of_node(node) -> Quantity:
    """By the node's own unit, which Slicer's PET extension sets, else by the DICOM files that it
    was loaded from.
    """
    modality = modality_of(node)
    if modality == "CT":
        return Quantity("CT", "HU")
    if modality != "PT":
        return Quantity(modality)
    units = node.GetVoxelValueUnits() if hasattr(node, "GetVoxelValueUnits") else None
    if units is not None and "SUVbw" in (units.GetCodeValue() or ""):
        return Quantity("PT", "SUV")
    return _of_files(node) or Quantity("PT")


def _of_files(node) -> Quantity | None:
    """By the tags of all its DICOM files; None where Slicer does not know them."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    paths = [database.fileForInstance(uid) for uid in instances] if database is not None else []
    if not paths or not all(path and Path(path).is_file() for path in paths):
        return None
    from MedLLMSegLib.io.dicom.header import read_header
    from MedLLMSegLib.io.dicom.suv import quantity_of

    try:
        headers = [read_header(Path(path)) for path in paths]
    except UserError:
        return None
    return quantity_of(headers[0], [header.text("AcquisitionTime") for header in headers])
