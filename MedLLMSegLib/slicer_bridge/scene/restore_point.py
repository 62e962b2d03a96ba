"""The state of a segmentation before a run: to undo a run that fails, and for Restore.

A `NodeState` is a copy of everything that `volume_nodes.write_drawing` changes in an existing node.
"""

from __future__ import annotations

from typing import Any

import slicer

from .map_roles import SEGMENTATION_MAPS
from .overlay import OverlayState
from .segment_display import display_properties_kept, display_properties_of
from .volumetry_table import VolumetryState


class NodeState:
    """A segmentation node as it is now: its segments and how they are displayed, its frame,
    reference geometry, maps and volumetry.
    """

    def __init__(self, node):
        self.segmentation = slicer.vtkSegmentation()
        self.segmentation.DeepCopy(node.GetSegmentation())
        self.transform = node.GetTransformNodeID()
        self.reference = node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole())
        self.overlays = [OverlayState(node, role) for role in SEGMENTATION_MAPS]
        self.display = display_properties_of(node)
        self.volumetry = VolumetryState(node)

    @property
    def worth_keeping(self) -> bool:
        return self.segmentation.GetNumberOfSegments() > 0

    def now(self, node) -> NodeState:
        return NodeState(node)

    def put_back(self, node) -> None:
        """Make a node what it was; references to nodes that are gone are left out."""
        with display_properties_kept(node, self.display), slicer.util.NodeModify(node):
            node.GetSegmentation().DeepCopy(self.segmentation)
            node.SetAndObserveTransformNodeID(_id_in_scene(node, self.transform))
            node.SetNodeReferenceID(
                node.GetReferenceImageGeometryReferenceRole(), _id_in_scene(node, self.reference)
            )
            for overlay in self.overlays:
                overlay.put_back(node)
            self.volumetry.put_back(node)


def _id_in_scene(node, node_id: str | None) -> str | None:
    """A node id if the scene of ``node`` still has it, else None."""
    scene = node.GetScene()
    return node_id if node_id and scene and scene.GetNodeByID(node_id) else None


class RestorePoints:
    """What the last run on each segmentation node overwrote, for this session.

    Restoring swaps the stored state and the current one, so that a second Restore undoes the first.
    """

    def __init__(self):
        self._states: dict[str, tuple[Any, Any]] = {}  # node id -> (node, state)

    def remember(self, node, before) -> None:
        """Store the state ``before`` a run on ``node`` in place of an older one.

        None and an empty segmentation are not stored.
        """
        self._forget_removed_nodes()
        self._states.pop(node.GetID(), None)
        if before is not None and before.worth_keeping:
            self._states[node.GetID()] = (node, before)

    def has(self, node) -> bool:
        """Whether there is something to restore in this node.

        False for None and for a node outside of the scene.
        """
        self._forget_removed_nodes()
        if node is None or node.GetScene() is None:
            return False
        stored_node, _ = self._states.get(node.GetID(), (None, None))
        return stored_node is node

    def swap(self, node) -> None:
        """Put back what the last run overwrote, and store the current state instead."""
        _, state = self._states[node.GetID()]
        current = state.now(node)
        state.put_back(node)
        self._states[node.GetID()] = (node, current)

    def _forget_removed_nodes(self) -> None:
        self._states = {
            name: (node, state)
            for name, (node, state) in self._states.items()
            if node.GetScene() is not None
        }
