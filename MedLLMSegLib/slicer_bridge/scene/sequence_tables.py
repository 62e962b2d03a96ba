"""Tables beside a sequence of segmentations: nodes that it refers to, saved with the scene."""

from __future__ import annotations

from dataclasses import dataclass

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from .volume_nodes import place_next_to, restore_place

# On a table node that we took out of the scene. One without it was deleted by the user.
TAKEN = "MedLLMSeg.taken"


@dataclass(frozen=True)
class SequenceTable:
    """One kind of table. role: of the sequence's reference to it. title: behind the sequence's
    name.
    """

    role: str
    title: str

    def of(self, segmentations):
        """The vtkMRMLTableNode of a sequence of segmentations, or None."""
        return segmentations.GetNodeReference(self.role)

    def show(self, segmentations, contents: vtk.vtkTable, neighbour):
        """Give a sequence its table, or new contents to that of an earlier run; returns the node.

        neighbour: the node that it is put next to. The vtkTable is replaced, never written into, so
        that a caller can put the one before back.
        """
        node = self.of(segmentations)
        if node is None:
            scene = segmentations.GetScene()
            name = scene.GenerateUniqueName(f"{segmentations.GetName()} {self.title}")
            node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
            self._refer(segmentations, node, neighbour)
        node.SetAndObserveTable(contents)
        return node

    def remove(self, segmentations) -> None:
        """Take the table, if there is one, out of the scene."""
        node = self.of(segmentations)
        if node is not None:
            node.SetAttribute(TAKEN, "yes")
            restore_place(node, None)
            node.GetScene().RemoveNode(node)

    def bring_back(self, segmentations, node, neighbour) -> None:
        """Put a table that `remove` took out back into the scene."""
        node.RemoveAttribute(TAKEN)
        segmentations.GetScene().AddNode(node)
        self._refer(segmentations, node, neighbour)

    def _refer(self, segmentations, node, neighbour) -> None:
        segmentations.SetNodeReferenceID(self.role, node.GetID())
        place_next_to(node, neighbour)


class TableState:
    """Which table a sequence of segmentations has, and what that holds; for Restore."""

    def __init__(self, kind: SequenceTable, segmentations):
        self.kind, self.segmentations = kind, segmentations
        self.node = kind.of(segmentations)
        if self.node is not None:
            self.contents, self.description = self.node.GetTable(), self.node.GetDescription()

    def put_back(self, neighbour) -> None:
        """neighbour: as for `SequenceTable.show`.

        A table that the user has deleted meanwhile is not brought back.
        """
        if self.node is None:  # the table describes the segmentations just replaced
            self.kind.remove(self.segmentations)
            return
        if self.node.GetScene() is None:
            if not self.node.GetAttribute(TAKEN):
                return
            self.kind.bring_back(self.segmentations, self.node, neighbour)
        self.node.SetAndObserveTable(self.contents)
        self.node.SetDescription(self.description)
