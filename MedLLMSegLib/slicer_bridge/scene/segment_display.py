"""How each segment is displayed: Slicer forgets it with a segment, even if one of the same id
follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

PROPERTIES = (
    "Visibility",
    "Visibility3D",
    "Visibility2DFill",
    "Visibility2DOutline",
    "Opacity3D",
    "Opacity2DFill",
    "Opacity2DOutline",
    "Pickable",
    "OverrideColor",
)

# display node's id -> segment id -> the properties' values
DisplayProperties = dict[str, dict[str, tuple]]


def display_properties_of(node) -> DisplayProperties:
    """How the display nodes of a segmentation node show each of its segments now."""
    return {
        display.GetID(): {
            segment_id: tuple(
                getattr(display, f"GetSegment{name}")(segment_id) for name in PROPERTIES
            )
            for segment_id in node.GetSegmentation().GetSegmentIDs()
        }
        for display in _displays(node)
    }


def set_display_properties(node, properties: DisplayProperties) -> None:
    """Display segments as they were; segments that are missing on either side stay as they are."""
    for display in _displays(node):
        for segment_id, values in properties.get(display.GetID(), {}).items():
            if node.GetSegmentation().GetSegment(segment_id) is None:
                continue
            for name, value in zip(PROPERTIES, values, strict=True):
                getattr(display, f"SetSegment{name}")(segment_id, value)


@contextmanager
def display_properties_kept(node, earlier: DisplayProperties | None = None) -> Iterator[None]:
    """Segments may be replaced within the block, and are displayed as before.

    earlier: of segments that are not there now and come back.
    """
    now = display_properties_of(node)
    try:
        yield
    finally:
        merged = {
            display_id: {**(earlier or {}).get(display_id, {}), **properties}
            for display_id, properties in now.items()
        }
        set_display_properties(node, merged)


def _displays(node) -> list:
    displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return [display for display in displays if display]
