"""The Slicer module: a panel over `MedLLMSegLib`, which does the work.

Nothing heavy is imported here: Slicer reads this file each time it starts. What the panel shows is
decided by `slicer_bridge/presenter`; the widget updates the panel's state and copies the view to
the widgets of the .ui.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
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
    import MedLLMSegLib  # noqa: F401  (only to see whether it can be imported)

from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.panel.consent import Consent
from MedLLMSegLib.slicer_bridge.panel.diagnose_section import DiagnoseSection
from MedLLMSegLib.slicer_bridge.panel.explain_section import ExplainSection
from MedLLMSegLib.slicer_bridge.panel.log_section import LogSection
from MedLLMSegLib.slicer_bridge.panel.models_section import ModelsSection
from MedLLMSegLib.slicer_bridge.panel.result_section import ResultSection
from MedLLMSegLib.slicer_bridge.panel.scan_selectors import ScansSection
from MedLLMSegLib.slicer_bridge.panel.segment_section import SampleButton, SegmentSection
from MedLLMSegLib.slicer_bridge.panel.stored_section import StoredSection
from MedLLMSegLib.slicer_bridge.panel.suggestions import SuggestionSection
from MedLLMSegLib.slicer_bridge.panel.train_section import TrainSection
from MedLLMSegLib.slicer_bridge.presenter.choices import Device, Engine, Side
from MedLLMSegLib.slicer_bridge.presenter.models_view import with_model
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel, without_result, without_scene
from MedLLMSegLib.slicer_bridge.presenter.view import view
from MedLLMSegLib.slicer_bridge.scene.sample_data import register_sample

POLL_MS = 50


class MedLLMSeg(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedLLMSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []  # PyTorchUtils is asked for when it is needed
        self.parent.contributors = ["MedLLMSeg contributors"]
        self.parent.helpText = _(
            "Outlines anatomy in medical scans, such as the structures of the brain in MR of any"
            " contrast, with vision transformers that hold a frozen block of a pretrained language"
            " model. The list of models says which structures, in which kind of scan, and how"
            " well; others can be imported, or trained here. See the <a"
            ' href="https://github.com/medllmseg/SlicerMedLLMSeg">documentation</a>. For research'
            " use only; it is not a medical device."
        )
        self.parent.acknowledgementText = _(
            "brain-mr was trained on label maps of SynthSeg, hippocampus-t1 on the Medical"
            " Segmentation Decathlon (Vanderbilt University Medical Center); the card in each"
            " model's folder names its data. The language-model block is a layer of SmolLM2 by"
            " Hugging Face."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """The tutorial's scan in the SampleData module, under our category."""
    register_sample(_("MedLLMSeg"))


@parameterNodeWrapper
class MedLLMSegParameterNode:
    """The panel's choices, saved with the scene.

    outputSegmentation: None for a new node at each run. secondImage, thirdImage, fourthImage:
    beside the input, for a model that takes several images of a patient. regionOfInterest: None for
    the whole scan. resultSegmentation: what the last run wrote. modelChosen: the user has chosen
    the model, so no suggestion changes it.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    secondImage: vtkMRMLScalarVolumeNode
    thirdImage: vtkMRMLScalarVolumeNode
    fourthImage: vtkMRMLScalarVolumeNode
    regionOfInterest: vtkMRMLMarkupsROINode
    resultSegmentation: vtkMRMLSegmentationNode
    model: str = DEFAULT_SEGMENTER
    modelChosen: bool = False
    side: Side = Side.AUTOMATIC
    device: Device = Device.AUTOMATIC
    engine: Engine = Engine.TORCH
    divideParts: bool = False
    uncertainty: bool = False
    uncertaintyOpacity: Annotated[int, WithinRange(0, 100)] = 70
    evidence: bool = True
    heatMap: bool = True
    heatOpacity: Annotated[int, WithinRange(0, 100)] = 70
    wholeSequence: bool = True
    allScans: bool = False
    augment: Annotated[int, WithinRange(0, 16)] = 0
    trainMinutes: Annotated[int, WithinRange(1, 1440)] = 15
    trainName: str = ""


class MedLLMSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel.

    panel: the state that is shown. parameters: the parameter node while the module is shown, else
    None.
    """

    def __init__(self, parent=None) -> None:
        self.ui = self.logic = self.parameters = None
        self.log = self.consent = self.models = self.result = None
        self.running = self.explaining = self.training = self.diagnosing = None
        self.sample = self.scans = self.suggestions = self.stored = None
        self.panel, self._shown, self._view = Panel(), {}, None
        self._parameterNodeGuiTag = None
        VTKObservationMixin.__init__(self)
        # last, as it calls setup() if there is no parent
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedLLMSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedLLMSegLogic()
        self.log = LogSection(self)
        self.consent = Consent(self)
        self.models = ModelsSection(self)
        self.stored = StoredSection(self)
        self.suggestions = SuggestionSection(self)
        self.result = ResultSection(self)
        self.running = SegmentSection(self)
        self.explaining = ExplainSection(self)
        self.training = TrainSection(self)
        self.diagnosing = DiagnoseSection(self)
        self.sample = SampleButton(self)
        self.scans = ScansSection(self)
        scene = slicer.mrmlScene
        for event, method in (
            (scene.StartCloseEvent, self.onSceneStartClose),
            (scene.EndCloseEvent, self.onSceneEndClose),
            (scene.EndImportEvent, self.onSceneEndImport),
        ):
            self.addObserver(scene, event, method)
        self.initializeParameterNode()
        self.models.refresh()

    # the life of a module's widget

    def cleanup(self) -> None:
        """End all jobs, processes and observers: the module is unloaded, or Slicer quits."""
        try:
            if self.logic is not None:
                self.logic.close()  # first: what follows may meet widgets that Qt has destroyed
        finally:
            self.removeObservers()
            for section in filter(None, (self.consent, self.diagnosing, self.training)):
                section.close()
            self.ui = None
            self.setParameterNode(None)

    def enter(self) -> None:
        self.initializeParameterNode()
        if self.ui is not None:
            self.models.refresh()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        for section in (self.running, self.explaining, self.training, self.diagnosing):
            section.leave_scene()
        self.diagnosing.close()
        self.result.close()
        self.explaining.overlay.forget()
        self.suggestions.forget()
        self.setParameterNode(None)
        self.replace(without_scene(self.panel))

    def onSceneEndClose(self, caller, event) -> None:
        # a window of its own (`MedLLMSegWidget()`) is always shown
        if getattr(self.parent, "isEntered", True):
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """A scene was loaded, and with it the choices that were saved in it."""
        if self.parameters is not None:
            self.initializeParameterNode()

    def onReload(self) -> None:
        """Reload the library too, not only this file; end the worker, which runs the old one."""
        if self.logic is not None:
            self.logic.close()
        for name in [name for name in sys.modules if name.split(".")[0] == "MedLLMSegLib"]:
            del sys.modules[name]
        super().onReload()

    # parameters

    def initializeParameterNode(self) -> None:
        """Show the scene's parameter node; the first volume is the input until the user chooses
        another.
        """
        if self.ui is None:  # setup failed: Reload still has to work
            return
        self.setParameterNode(self.logic.getParameterNode())
        self.scans.update()

    def setParameterNode(self, parameterNode: MedLLMSegParameterNode | None) -> None:
        """Show and observe a parameter node (None: none) in place of the one before."""
        if self.parameters is not None:
            if self.hasObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.update):
                self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.update)
            self.parameters.disconnectGui(self._parameterNodeGuiTag)
        self.parameters, self._parameterNodeGuiTag = parameterNode, None
        if self.parameters is not None:
            named = [
                (widget.property("SlicerParameterName"), widget)
                for widget in vars(self.ui).values()
            ]
            bound = {name: widget for name, widget in named if name}
            # Not connectGui(self.ui): it returns no tag (Slicer issue 7547), and what cannot be
            # disconnected would write the first entries of the lists into the parameters when they
            # are connected again.
            self._parameterNodeGuiTag = self.parameters.connectParametersToGui(bound)
            self.addObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.update)
            self.suggestions.restore()
            self.update()

    def update(self, caller=None, event=None) -> None:
        """A choice has changed: update the state and what is shown."""
        if self.ui is None or self.parameters is None:
            return
        chosen, result, scan = self.parameters, self.result.node, self.parameters.inputVolume
        region = chosen.regionOfInterest
        self.running.forget_person_of_another(scan)
        if self.result.about not in (None, result):  # deleted, or another scene was added
            self.result.about = None
            self.replace(without_result(self.panel))
        self.change(
            **self.scans.choices(),
            model=chosen.model,
            region=region.GetName() if region is not None else None,
            all_scans=chosen.allScans,
            divide=chosen.divideParts,
            uncertainty=chosen.uncertainty,
            uncertainty_opacity=chosen.uncertaintyOpacity,
            evidence=chosen.evidence,
            evidenced=self.explaining.map is not None,
            heat=chosen.heatMap,
            heat_opacity=chosen.heatOpacity,
            train_name=chosen.trainName,
            mapped=self.result.map is not None,
            smoothing=self.result.smoothing,
            result=result.GetName() if result else None,
            can_restore=self.logic.canRestore(self.result.restored_node),
        )
        self.suggestions.update()
        self.training.show_name(chosen.trainName)
        self.ui.show3DButton.setSegmentationNode(result)
        self.result.update_overlay()
        self.explaining.update_overlay()
        self.diagnosing.update_overlay()

    # what is shown

    def change(self, **fields) -> None:
        """Change fields of the state, and show it."""
        self.replace(replace(self.panel, **fields))

    def replace(self, panel: Panel) -> None:
        same, self.panel = panel == self.panel and self._view is not None, panel
        if self.ui is None or same:
            return
        new, old = view(panel), self._view
        self._view = new
        for show, *names in (
            (self.models.show, "models", "chosen"),
            (self.training.show_starts, "starts"),
            (self.result.show, "rows"),
            (self.result.show_groups, "groups"),
            (self.explaining.show_choices, "explained"),
            (self.training.show, "pairs"),
            (self.diagnosing.show_classifiers, "classifiers", "classifier"),
            (self.diagnosing.show, "diagnosis"),
            (self.diagnosing.show_fields, "fields"),
            (self.models.show_managed_models, "managed_models", "managed"),
            (self.stored.show, "stored"),
        ):
            values = [getattr(new, name) for name in names]
            if old is None or values != [getattr(old, name) for name in names]:
                show(*values)
        for name, properties in new.widgets.items():
            for prop, value in properties.items():
                if self._shown.get((name, prop)) != value:  # Qt repaints even for an equal value
                    self._shown[name, prop] = value
                    setattr(getattr(self.ui, name), prop, value)

    def choose_model(self, name: str) -> None:
        # another module may be shown meanwhile
        parameters = self.parameters or self.logic.getParameterNode()
        parameters.model, parameters.modelChosen = name, True
        self.replace(with_model(self.panel, name))


class MedLLMSegLogic(ScriptedLoadableModuleLogic, SegmentationLogic):
    """`MedLLMSegLogic().segment(volumeNode)` works from the Python console, without the panel."""

    def __init__(self, segmentFunction=None, makeClient=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        SegmentationLogic.__init__(self, segmentFunction, makeClient)
        self._polling = False  # there is a job to poll for
        self._pending = False  # the next poll is scheduled

    def getParameterNode(self) -> MedLLMSegParameterNode:
        return MedLLMSegParameterNode(super().getParameterNode())

    def _startPolling(self) -> None:
        """Poll from Slicer's event loop, for the first time as soon as it is free.

        One shot at a time: a repeating timer would keep the logic alive.
        """
        delay_ms = POLL_MS if self._polling else 0
        self._polling = True
        if not self._pending:
            self._pending = True
            # a lambda, as PythonQt does not keep the object of a bound method alive
            qt.QTimer.singleShot(delay_ms, lambda: self._tick())  # noqa: PLW0108 (see above)

    def _stopPolling(self) -> None:
        self._polling = False

    def _tick(self) -> None:
        self._pending = False
        try:
            if self._polling:
                self.poll()
        finally:  # polling goes on after a poll that failed
            if self._polling:
                self._startPolling()


class MedLLMSegTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without a network; the checks are in slicer_bridge/selftest."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        from MedLLMSegLib.slicer_bridge.selftest import self_test

        self.setUp()
        self_test.run(self, MedLLMSegLogic)
