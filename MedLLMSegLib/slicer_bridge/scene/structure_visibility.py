"""Which structures of a segmentation are shown, by their keys."""

from __future__ import annotations

from collections.abc import Collection

import slicer

from .segments import STRUCTURE_TAG, tag


def hidden_structures(node) -> frozenset[str]:
    """The keys of the structures whose segments are not shown."""
    display = node.GetDisplayNode() if node is not None else None
    if display is None:
        return frozenset()
    return frozenset(
        key for segment_id, key in _keys(node) if not display.GetSegmentVisibility(segment_id)
    )


def show_structures(node, keys: Collection[str], show: bool) -> None:
    """Show or hide the segments of some structures, all at once."""
    display = node.GetDisplayNode()
    if display is None:
        return
    with slicer.util.NodeModify(display):  # the views are drawn once, not once a segment
        for segment_id, key in _keys(node):
            if key in keys:
                display.SetSegmentVisibility(segment_id, show)


def _keys(node) -> list[tuple[str, str]]:
    """(segment id, structure's key) of the segments that a model drew."""
    segments = node.GetSegmentation()
    pairs = [
        (segment_id, tag(segments.GetSegment(segment_id), STRUCTURE_TAG))
        for segment_id in segments.GetSegmentIDs()
    ]
    return [(segment_id, key) for segment_id, key in pairs if key]
