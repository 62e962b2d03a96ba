"""What a run changes in a segmentation, and how it was before: to take a failed run back, and for
Restore.

A `NodeState` is a copy of all that `nodes.write_drawing` touches in a node that was there already.
"""

from __future__ import annotations

import slicer

from .overlay import OverlayState
from .segment_display import display_properties_kept, display_properties_of


class NodeState:
    """A segmentation node as it is now: its segments and their looks, frame, reference geometry
    and uncertainty map.
    """

    def __init__(self, node):
        self.segmentation = slicer.vtkSegmentation()
        self.segmentation.DeepCopy(node.GetSegmentation())
        self.transform = node.GetTransformNodeID()
        self.reference = node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole())
        self.overlay, self.looks = OverlayState(node), display_properties_of(node)

    @property
    def worth_keeping(self) -> bool:
        return self.segmentation.GetNumberOfSegments() > 0

    def now(self, node) -> NodeState:
        return NodeState(node)

    def put_back(self, node) -> None:
        """Make a node what it was; nodes that it referred to and that are gone are left out."""
        there = lambda name: (
            name if name and node.GetScene() and node.GetScene().GetNodeByID(name) else None
        )
        with display_properties_kept(node, self.looks), slicer.util.NodeModify(node):
            node.GetSegmentation().DeepCopy(self.segmentation)
            node.SetAndObserveTransformNodeID(there(self.transform))
            node.SetNodeReferenceID(
                node.GetReferenceImageGeometryReferenceRole(), there(self.reference)
            )
            self.overlay.put_back(node)


class RestorePoints:
    """What the last run on each segmentation node overwrote, for this session.

    Restoring swaps: what is put back changes places with what was there, so that a second Restore
    undoes the first.
    """

    def __init__(self):
        self._kept: dict[str, tuple] = {}  # node id -> (node, state)

    def remember(self, node, before) -> None:
        """Keep the state ``before`` a run on ``node`` in place of an older one; None or an empty
        one is not kept.
        """
        self.tidy()
        self._kept.pop(node.GetID(), None)
        if before is not None and before.worth_keeping:
            self._kept[node.GetID()] = (node, before)

    def has(self, node) -> bool:
        """Whether there is something to restore in this node; False for None and for a node
        outside of the scene.
        """
        self.tidy()
        if node is None or node.GetScene() is None:
            return False
        found = self._kept.get(node.GetID())
        return found is not None and found[0] is node

    def swap(self, node) -> None:
        """Put back what the last run overwrote, and keep what was there instead."""
        _, state = self._kept[node.GetID()]
        current = state.now(node)
        state.put_back(node)
        self._kept[node.GetID()] = (node, current)

    def tidy(self) -> None:
        """Let go of nodes that left their scene."""
        self._kept = {
            name: (node, state)
            for name, (node, state) in self._kept.items()
            if node.GetScene() is not None
        }
