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

Looks = dict[str, dict[str, tuple]]  # display node's id -> segment id -> the properties' values


def looks_of(node) -> Looks:
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


def set_looks(node, looks: Looks) -> None:
    """Show segments as they were; those that are not there, or were not, stay as they are."""
    for display in (node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())):
        for name, values in looks.get(display.GetID(), {}).items() if display else ():
            if node.GetSegmentation().GetSegment(name) is not None:
                for each, value in zip(PROPERTIES, values):
                    getattr(display, f"SetSegment{each}")(name, value)


@contextmanager
def looks_kept(node, earlier: Looks | None = None) -> Iterator[None]:
    """Segments may be exchanged meanwhile, and look as before. earlier: of such as are not there
    now and come back.
    """
    now = looks_of(node)
    try:
        yield
    finally:
        set_looks(
            node, {name: {**(earlier or {}).get(name, {}), **looks} for name, looks in now.items()}
        )
