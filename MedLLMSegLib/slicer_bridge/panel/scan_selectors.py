"""The panel and the scene: which scans there are, the first of them as the input, and what
happens when nodes come and go.
"""

from __future__ import annotations

import slicer
import vtk

from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map

SCAN = "vtkMRMLScalarVolumeNode"
WATCHED = (
    SCAN,
    "vtkMRMLSegmentationNode",
)  # what the panel shows; other modules' nodes are none of its business


class ScansSection:
    """widget: the module's widget, of which `ui`, `parameters`, `training`, `diagnosing`,
    `addObserver` and `change` are used.
    """

    def __init__(self, widget):
        self.widget, scene = widget, slicer.mrmlScene
        self._leaving: list[str] = []  # the choices whose node is being removed
        widget.addObserver(scene, scene.NodeAddedEvent, self.onNode)
        # Before Slicer's selectors hear of it, and after.
        widget.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onLeaving, priority=1.0)
        widget.addObserver(scene, scene.NodeRemovedEvent, self.onRemoved, priority=-1.0)
        widget.addObserver(
            scene, scene.EndBatchProcessEvent, self.onBatch
        )  # loading and closing a scene end so, too

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
                for name, each in chosen.items()
                if each is not None and each.GetID() == node.GetID()
            ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onRemoved(self, caller, event, node) -> None:
        """When a chosen node is removed, Slicer's selector goes to the row above. That may be a map
        of ours, which is no scan, or a segmentation into which nobody has asked us to write.
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
        """Take account of the scene: the first scan becomes the input, and pairs whose nodes are
        gone leave the list.
        """
        if self.widget.ui is None or slicer.mrmlScene.IsBatchProcessing():
            return
        self.widget.training.update()
        self.widget.diagnosing.update()
        if (
            self.widget.parameters is not None
        ):  # else another module is shown, and this is done when the user comes back
            self.widget.change(scans=sum(not is_map(node) for node in self._scans()))
            self._choose_first()

    def _scans(self) -> list:
        """Scans that the user may choose: label maps are of this class too, and no scans."""
        return [
            node
            for node in slicer.util.getNodesByClass(SCAN)
            if node.GetClassName() == SCAN and not node.GetHideFromEditors()
        ]

    def _choose_first(self) -> None:
        chosen = self.widget.parameters.inputVolume
        if (
            chosen is not None and chosen.GetScene() is not None
        ):  # a node that goes is still named while the scene says so
            return
        first = next((node for node in self._scans() if not is_map(node)), None)
        if first is not None:
            self.widget.parameters.inputVolume = first
