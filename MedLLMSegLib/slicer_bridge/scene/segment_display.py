"""What the user has chosen to see of each segment: Slicer forgets it with a segment, though one
of the same id follows.
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

DisplayProperties = dict[
    str, dict[str, tuple]
]  # display node's id -> segment id -> the properties' values


def display_properties_of(node) -> DisplayProperties:
    """How the display nodes of a segmentation node show each of its segments now."""
    displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return {
        display.GetID(): {
            name: tuple(getattr(display, f"GetSegment{each}")(name) for each in PROPERTIES)
            for name in node.GetSegmentation().GetSegmentIDs()
        }
        for display in displays
        if display
    }


def set_display_properties(node, properties: DisplayProperties) -> None:
    """Show segments as they were; those that are not there, or were not, stay as they are."""
    for display in (node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())):
        for name, values in properties.get(display.GetID(), {}).items() if display else ():
            if node.GetSegmentation().GetSegment(name) is not None:
                for each, value in zip(PROPERTIES, values):
                    getattr(display, f"SetSegment{each}")(name, value)


@contextmanager
def display_properties_kept(node, earlier: DisplayProperties | None = None) -> Iterator[None]:
    """Segments may be exchanged meanwhile, and look as before. earlier: of such as are not there
    now and come back.
    """
    now = display_properties_of(node)
    try:
        yield
    finally:
        set_display_properties(
            node,
            {
                name: {**(earlier or {}).get(name, {}), **properties}
                for name, properties in now.items()
            },
        )
