"""The panel and the scene: the first scan becomes the input, and nodes come and go."""

from __future__ import annotations

import slicer
import vtk

from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map

SCAN = "vtkMRMLScalarVolumeNode"
WATCHED = (SCAN, "vtkMRMLSegmentationNode")  # the classes of nodes that the panel shows


class ScansSection:
    """Keeps the panel up to date with the scene. widget: the module's widget."""

    def __init__(self, widget):
        self.widget, scene = widget, slicer.mrmlScene
        self._leaving: list[str] = []  # the choices whose node is being removed
        widget.addObserver(scene, scene.NodeAddedEvent, self.onNode)
        # Before Slicer's selectors hear of it, and after.
        widget.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onLeaving, priority=1.0)
        widget.addObserver(scene, scene.NodeRemovedEvent, self.onRemoved, priority=-1.0)
        # loading and closing a scene end with this, too
        widget.addObserver(scene, scene.EndBatchProcessEvent, self.onBatch)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNode(self, caller, event, node) -> None:
        if node is not None and any(node.IsA(kind) for kind in WATCHED):
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onLeaving(self, caller, event, node) -> None:
        parameters = self.widget.parameters
        if node is not None and parameters is not None:
            chosen = {
                name: getattr(parameters, name) for name in ("inputVolume", "outputSegmentation")
            }
            self._leaving = [
                name
                for name, value in chosen.items()
                if value is not None and value.GetID() == node.GetID()
            ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onRemoved(self, caller, event, node) -> None:
        """When a chosen node is removed, Slicer's selector moves to the row above.

        That may be one of our maps, which is no scan, or a segmentation that the user has not
        chosen as the output.
        """
        parameters, leaving, self._leaving = self.widget.parameters, self._leaving, []
        if parameters is not None and "outputSegmentation" in leaving:
            parameters.outputSegmentation = None
        following = (
            parameters.inputVolume if parameters is not None and "inputVolume" in leaving else None
        )
        if following is not None and is_map(following):
            parameters.inputVolume = None
        self.onNode(caller, event, node)

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
            self.widget.change(scans=sum(not is_map(node) for node in self._scans()))
            self._choose_first()

    def _scans(self) -> list:
        """Scans that the user may choose. Label maps are of a derived class, and are no scans."""
        return [
            node
            for node in slicer.util.getNodesByClass(SCAN)
            if node.GetClassName() == SCAN and not node.GetHideFromEditors()
        ]

    def _choose_first(self) -> None:
        chosen = self.widget.parameters.inputVolume
        # a node that is being removed is still the parameter's value while the scene reports it
        if chosen is not None and chosen.GetScene() is not None:
            return
        first = next((node for node in self._scans() if not is_map(node)), None)
        if first is not None:
            self.widget.parameters.inputVolume = first
