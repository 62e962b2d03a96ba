"""What is known of a scan in the scene without reading its voxels."""

from __future__ import annotations

import slicer

from MedLLMSegLib.registry.model_fit import ScanFacts

from .flat_images import modality_of
from .sequence_nodes import source_of

BODY_PART, SERIES_DESCRIPTION, STUDY_DESCRIPTION = "0018,0015", "0008,103E", "0008,1030"


def scan_facts(node) -> ScanFacts | None:
    """The facts of a volume node; None for a node without voxels in three directions."""
    image = node.GetImageData() if node is not None else None
    if image is None or min(image.GetDimensions()) < 2:
        return None
    i, j, k = node.GetSpacing()
    sizes = [n * s for n, s in zip(image.GetDimensions(), (i, j, k), strict=True)]
    return ScanFacts(
        name=node.GetName() or "",
        descriptions=_descriptions(node),
        modality=modality_of(node),
        spacing_mm=(k, j, i),
        size_mm=(sizes[2], sizes[1], sizes[0]),
        lowest=image.GetScalarRange()[0],
        is_series=source_of(node) is not None,
    )


def _descriptions(node) -> tuple[str, ...]:
    """DICOM's body part and descriptions of the node's first instance, where Slicer knows it."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return ()
    tags = (BODY_PART, SERIES_DESCRIPTION, STUDY_DESCRIPTION)
    values = (database.instanceValue(instances[0], tag) for tag in tags)
    return tuple(value for value in values if value)
