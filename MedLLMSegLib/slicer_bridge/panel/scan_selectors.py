"""The panel and the scene: the first scan becomes the input, and nodes come and go."""

from __future__ import annotations

import slicer
import vtk

from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map

SCAN = "vtkMRMLScalarVolumeNode"
FURTHER_IMAGES = ("secondImage", "thirdImage", "fourthImage")  # of the parameter node
SEQUENCE = "vtkMRMLSequenceNode"
WATCHED = (SCAN, "vtkMRMLSegmentationNode")  # the classes of nodes that the panel shows


class ScansSection:
    """Keeps the panel up to date with the scene. widget: the module's widget."""

    def __init__(self, widget):
        self.widget, scene = widget, slicer.mrmlScene
        widget.addObserver(scene, scene.NodeAddedEvent, self.onNode)
        # Before Slicer's selectors hear of it, and after.
        widget.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onLeaving, priority=1.0)
        widget.addObserver(scene, scene.NodeRemovedEvent, self.onRemoved, priority=-1.0)
        # loading and closing a scene end with this, too
        widget.addObserver(scene, scene.EndBatchProcessEvent, self.onBatch)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNode(self, caller, event, node) -> None:
        if node is not None and _is_watched(node):
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onRemoved(self, scene, event, node) -> None:
        """A result or a map may be gone, and what was said of it, or all images but the one shown
        of a sequence.
        """
        self.onNode(scene, event, node)
        told_of = node is not None and (_is_watched(node) or node.IsA(SEQUENCE))
        if told_of and not scene.IsBatchProcessing():
            self.widget.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onLeaving(self, scene, event, node) -> None:
        """Choose something else in the place of a node that is about to be removed.

        Slicer's selector would move to a neighbouring row, and so choose one of our maps, which is
        no scan, or a segmentation into which the next run would then write.
        """
        parameters = self.widget.parameters
        if node is None or scene.IsClosing():
            return
        if node.IsA(SCAN) and is_map(node):
            self._hide_map(node)
        if parameters is None:
            return
        for name in ("outputSegmentation", "regionOfInterest", *FURTHER_IMAGES):
            if getattr(parameters, name) is node:
                setattr(parameters, name, None)
        if parameters.inputVolume is node:
            parameters.inputVolume = self._first_scan(leaving=node)

    def onBatch(self, caller, event) -> None:
        self.update()

    def update(self) -> None:
        """Update the state from the scene: the first scan becomes the input, and pairs with
        removed nodes are dropped.
        """
        if self.widget.ui is None or slicer.mrmlScene.IsBatchProcessing():
            return
        self.widget.training.update()
        self.widget.diagnosing.update()
        if self.widget.parameters is not None:  # else done when the user comes back to the module
            self.widget.change(scans=len(self.all_scans()))
            self._choose_first()

    def all_scans(self) -> list:
        """The scans of the scene. Label maps are of a derived class, and are no scans; neither are
        our maps.
        """
        return [
            node
            for node in slicer.util.getNodesByClass(SCAN)
            if node.GetClassName() == SCAN and not node.GetHideFromEditors() and not is_map(node)
        ]

    def choices(self) -> dict:
        """What is chosen as the images of a patient, as fields of the panel's state."""
        from MedLLMSegLib.slicer_bridge.scene.patient_images import count_images

        parameters = self.widget.parameters
        chosen = [parameters.inputVolume, *(getattr(parameters, name) for name in FURTHER_IMAGES)]
        nodes = [n if n is not None and n.GetScene() is not None else None for n in chosen]
        names = [node.GetName() if node is not None else None for node in nodes]
        return {
            "input": names[0],
            "further": tuple(names[1:]),
            "image_ids": tuple(node.GetID() if node is not None else None for node in nodes),
            "images_in_input": count_images(nodes[0], parameters.wholeSequence),
        }

    def _hide_map(self, node) -> None:
        """What the views show of a map that leaves would stay."""
        from MedLLMSegLib.slicer_bridge.scene.overlay import show_overlay

        show_overlay(node, False)

    def _first_scan(self, leaving=None):
        """The first scan in the scene that is not leaving it, or None."""
        return next((node for node in self.all_scans() if node is not leaving), None)

    def _choose_first(self) -> None:
        chosen = self.widget.parameters.inputVolume
        # a node that is being removed is still the parameter's value while the scene reports it
        if chosen is not None and chosen.GetScene() is not None:
            return
        first = self._first_scan()
        if first is not None:
            self.widget.parameters.inputVolume = first


def _is_watched(node) -> bool:
    return any(node.IsA(kind) for kind in WATCHED)
