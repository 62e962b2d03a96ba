"""The Slicer module: a panel over `MedLLMSegLib`, which does the work.

Nothing heavy is imported here: Slicer reads this file each time it starts.
"""
import enum
import sys
import traceback
from pathlib import Path
from typing import Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import MedLLMSegLib
except ModuleNotFoundError:  # a source checkout: Slicer puts only this file's folder on the path
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    import MedLLMSegLib  # noqa: F401

from MedLLMSegLib.errors import Cancelled, UserError
from MedLLMSegLib.slicer_bridge.install import ensure_packages
from MedLLMSegLib.slicer_bridge.logic import SegmentationLogic


class MedLLMSeg(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedLLMSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []  # PyTorchUtils is asked for when it is needed
        self.parent.contributors = ["MedLLMSeg contributors"]
        self.parent.helpText = _(
            "Outlines the front and back parts of both hippocampi in a T1 MRI of the head, with a vision transformer "
            "that holds a frozen block of a pretrained language model. "
            'See the <a href="https://github.com/medllmseg/SlicerMedLLMSeg">documentation</a>. '
            "For research use only; it is not a medical device.")
        self.parent.acknowledgementText = _(
            "Trained on the hippocampus task of the Medical Segmentation Decathlon (Vanderbilt University Medical "
            "Center) and on label maps of SynthSeg; the language-model block is a layer of SmolLM2 by Hugging Face.")


class Side(enum.Enum):
    """Which hippocampus a scan shows that is a crop around one."""

    AUTOMATIC = None
    LEFT = "left"
    RIGHT = "right"

    def label(self) -> str:
        """What the panel's list shows."""
        return {Side.AUTOMATIC: _("Both, or not known"), Side.LEFT: _("Left"), Side.RIGHT: _("Right")}[self]


@parameterNodeWrapper
class MedLLMSegParameterNode:
    """The panel's choices, saved with the scene. outputSegmentation: None for a new node at each run."""

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    model: str = "hippocampus-t1"
    side: Side = Side.AUTOMATIC


class MedLLMSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.ui = None
        self.logic = None
        self._running = False  # the progress dialog lets events through: a second press must not start a second run
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedLLMSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedLLMSegLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take up the scene's parameter node; the first volume is the input until the user chooses another."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps are of this class too
            scans = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self._parameterNode.inputVolume = scans[0] if scans else None

    def setParameterNode(self, parameterNode: Optional[MedLLMSegParameterNode]) -> None:
        """Show and observe a parameter node (None: none), and let go of the one before."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode, self._parameterNodeGuiTag = parameterNode, None
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None) -> None:
        if self.ui is None:  # setup failed: Reload still has to work
            return
        if self._running:
            self.ui.segmentButton.enabled = False
            return
        ready = self._parameterNode is not None and self._parameterNode.inputVolume is not None
        self.ui.segmentButton.enabled = ready
        self.ui.segmentButton.toolTip = (_("Outline the hippocampi in the input volume.") if ready else
                                         _("Load a scan and choose it as the input volume."))

    def onSegmentButton(self) -> None:
        """Segment the input volume; whatever goes wrong, the user reads one sentence and the scene is as before."""
        if self._running:
            return
        self._running = True
        self._checkCanApply()
        self.ui.statusLabel.text = _("Checking Python packages...")
        try:
            ensure_packages(_("MedLLMSeg"))
            self.ui.statusLabel.text = self._segment()
        except Cancelled:
            self.ui.statusLabel.text = _("Cancelled; nothing was changed.")
        except UserError as error:
            self._showError(str(error))
        except Exception as error:
            self._showError(_("The segmentation failed ({reason}); nothing was changed.").format(reason=error),
                            detailedText=traceback.format_exc())
        finally:
            self._running = False
            self._checkCanApply()

    def _segment(self) -> str:
        """Run the logic under a progress dialog with a Cancel button; returns what to say about the result."""
        chosen = self._parameterNode
        dialog = slicer.util.createProgressDialog(windowTitle=_("MedLLMSeg"), labelText=_("Loading the model..."),
                                                  windowModality=qt.Qt.ApplicationModal)

        def progress(stage: str, fraction: float) -> None:
            dialog.labelText, dialog.value = stage, round(100 * fraction)
            slicer.app.processEvents()
            if dialog.wasCanceled:
                raise Cancelled

        try:
            node = self.logic.segment(chosen.inputVolume, chosen.outputSegmentation, model=chosen.model,
                                      side=chosen.side.value, progress=progress)
        finally:
            dialog.close()
        found = self.logic.result
        done = _("{name}: done in {seconds} s.").format(name=node.GetName(), seconds=round(found.seconds, 1))
        return " ".join([done, *found.notes])

    def _showError(self, sentence: str, **details) -> None:
        self.ui.statusLabel.text = sentence
        slicer.util.errorDisplay(sentence, windowTitle=_("MedLLMSeg"), **details)

    def onReload(self) -> None:
        """Reload the library too, not only this file."""
        for name in [name for name in sys.modules if name.split(".")[0] == "MedLLMSegLib"]:
            del sys.modules[name]
        super().onReload()


class MedLLMSegLogic(ScriptedLoadableModuleLogic, SegmentationLogic):
    """`MedLLMSegLogic().segment(volumeNode)` works from the Python console, without the panel."""

    def __init__(self, segmentFunction=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        SegmentationLogic.__init__(self, segmentFunction)

    def getParameterNode(self) -> MedLLMSegParameterNode:
        return MedLLMSegParameterNode(super().getParameterNode())


class MedLLMSegTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network and without torch: a stand-in takes the network's place."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_a_volume_becomes_a_named_segmentation()
        self.setUp()
        self.test_a_failure_leaves_no_node()

    def test_a_volume_becomes_a_named_segmentation(self) -> None:
        import numpy as np
        from MedLLMSegLib.anatomy import hippocampus_structures
        from MedLLMSegLib.structures import Segmentation

        def segment(volume, model, **options):
            labels = np.zeros(volume.array.shape, np.uint8)
            labels[2:5, 3:6, 4:9] = 1
            return Segmentation(volume.with_array(labels), hippocampus_structures(lateral=True), model=model)

        scan = slicer.util.addVolumeFromArray(np.ones((10, 12, 14), np.int16), name="scan")
        node = MedLLMSegLogic(segment).segment(scan)
        segmentId = node.GetSegmentation().GetSegmentIdBySegmentName("Left hippocampus (anterior)")
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, scan)
        self.assertEqual(int(array.sum()), 3 * 3 * 5)
        self.assertTrue(array[2:5, 3:6, 4:9].all())

    def test_a_failure_leaves_no_node(self) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaises(UserError):
            MedLLMSegLogic().segment(empty)
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
