"""The scripted module without Slicer's desktop: what it imports, its names, its .ui, and its widget with stand-ins.

What PythonQt and the desktop really do is tested inside Slicer by MedLLMSegTest.
"""
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from MedLLMSegLib.errors import Cancelled, UserError

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedLLMSeg" / "MedLLMSeg.py"
UI = ElementTree.parse(ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui").getroot()
NAMES = [widget.get("name") for widget in UI.iter("widget")]


class Parameters:
    """What parameterNodeWrapper makes of a class: its fields with their defaults, observable, bound to a panel."""

    def __init__(self, node):
        for name in type(self).__annotations__:
            setattr(self, name, getattr(type(self), name, None))
        self.bound = 0

    def connectGui(self, ui):
        self.bound += 1
        return self.bound

    def disconnectGui(self, tag):
        assert tag is not None, "there was nothing to disconnect"
        self.bound -= 1


class Observing:
    """VTKObservationMixin that does not forgive removing what was never added."""

    def __init__(self):
        self.observed = []

    def addObserver(self, thing, event, method):
        self.observed.append((thing, event, method))

    def removeObserver(self, thing, event, method):
        self.observed.remove((thing, event, method))

    def removeObservers(self):
        self.observed.clear()


class Widget(types.SimpleNamespace):
    """A widget of the .ui; its signals go nowhere."""

    def connect(self, signal, method):
        setattr(self, re.sub(r"\(.*", "", signal), method)


class Base:
    """ScriptedLoadableModule, -Widget and -Logic."""

    def __init__(self, parent=None):
        self.parent, self.layout, self.reloaded = parent, Widget(addWidget=lambda widget: None), False

    def setup(self):
        pass

    def resourcePath(self, name):
        return str(MODULE.parent / "Resources" / name)

    def getParameterNode(self):
        return "a vtkMRMLScriptedModuleNode"

    def onReload(self):
        self.reloaded = True


@pytest.fixture
def stand_ins(monkeypatch):
    """Just enough of `slicer` and `vtk` in `sys.modules`; what the module showed to the user is in `.shown`."""
    import unittest

    dialog = types.SimpleNamespace(wasCanceled=False, labelText="", value=0, close=lambda: None)
    shown = []
    scene = types.SimpleNamespace(StartCloseEvent=1, EndCloseEvent=2, Clear=lambda: None)
    util = types.ModuleType("slicer.util")
    util.VTKObservationMixin = Observing
    util.loadUI = lambda path: Widget(setMRMLScene=lambda scene: None, exists=Path(path).stat())
    util.childWidgetVariables = lambda widget: types.SimpleNamespace(**{name: Widget() for name in NAMES})
    util.createProgressDialog = lambda **options: dialog
    util.errorDisplay = lambda text, **options: shown.append((text, options))
    slicer = types.ModuleType("slicer")
    slicer.__path__ = []
    slicer.mrmlScene, slicer.util, slicer.app = scene, util, types.SimpleNamespace(processEvents=lambda: None)
    slicer.vtkMRMLScalarVolumeNode = slicer.vtkMRMLSegmentationNode = object
    bases = types.ModuleType("slicer.ScriptedLoadableModule")
    bases.ScriptedLoadableModule = bases.ScriptedLoadableModuleWidget = bases.ScriptedLoadableModuleLogic = Base
    bases.ScriptedLoadableModuleTest = unittest.TestCase
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = (lambda text: text), (lambda context, text: text)
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.parameterNodeWrapper = lambda kind: type(kind.__name__, (Parameters,), dict(vars(kind)))
    vtk = types.ModuleType("vtk")
    vtk.vtkCommand = types.SimpleNamespace(ModifiedEvent="modified")
    qt = types.ModuleType("qt")
    qt.Qt = types.SimpleNamespace(ApplicationModal=2)
    scan, labels = (types.SimpleNamespace(name=name, GetClassName=lambda kind=kind: kind) for name, kind in
                    (("the first volume", "vtkMRMLScalarVolumeNode"), ("a label map", "vtkMRMLLabelMapVolumeNode")))
    util.getNodesByClass = lambda kind: [labels, scan]  # as in Slicer, a label map is a scalar volume too
    for module in (slicer, util, bases, i18n, wrapper, vtk, qt):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return types.SimpleNamespace(slicer=slicer, scene=scene, dialog=dialog, shown=shown)


@pytest.fixture
def module(stand_ins):
    spec = importlib.util.spec_from_file_location("MedLLMSeg", MODULE)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def widget(module, monkeypatch):
    """A set-up panel whose packages are all there."""
    monkeypatch.setattr(module, "ensure_packages", lambda requester: None)
    panel = module.MedLLMSegWidget(types.SimpleNamespace(isEntered=True))
    panel.setup()
    return panel


# importing

def test_slicer_finds_the_classes_that_it_looks_for(module):
    for suffix in ("", "Widget", "Logic", "Test"):
        assert isinstance(getattr(module, "MedLLMSeg" + suffix), type)
    parent = types.SimpleNamespace()
    module.MedLLMSeg(parent)
    assert parent.title == "MedLLMSeg" and parent.categories == ["Segmentation"]
    assert "medical device" in parent.helpText and parent.acknowledgementText and parent.contributors


IMPORT = """
import json, sys, types
sys.path.insert(0, {folder!r})
class Any(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        return name if name.startswith("__") else type(name, (), {{}})
for name in ("", ".util", ".i18n", ".ScriptedLoadableModule", ".parameterNodeWrapper"):
    sys.modules["slicer" + name] = Any("slicer" + name)
sys.modules["vtk"], sys.modules["qt"] = Any("vtk"), Any("qt")
sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda kind: kind
sys.modules["slicer.i18n"].tr = str
before = set(sys.modules)
import MedLLMSeg
print(json.dumps(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""


def test_nothing_heavy_is_imported_when_slicer_starts(tmp_path):
    """From a source checkout too, where only the module's own folder is on the path."""
    done = subprocess.run([sys.executable, "-S", "-E", "-c", IMPORT.format(folder=str(MODULE.parent))],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout))
    assert "MedLLMSegLib" in imported
    third_party = {name for name in imported - {"MedLLMSeg", "MedLLMSegLib"} if name not in sys.stdlib_module_names}
    assert not third_party, "Slicer would import these each time it starts"


def test_segmenting_imports_only_what_slicer_has_or_is_asked_for():
    """Everything else that pyproject.toml, or a developer's machine, may have is made to be missing."""
    absent = ("gguf", "tqdm", "matplotlib", "skimage", "nilearn", "nibabel", "transformers", "pandas", "sklearn")
    code = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\nfrom MedLLMSegLib import segment"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_packages_are_asked_for_as_pyproject_says():
    from MedLLMSegLib.slicer_bridge.install import REQUIREMENTS, TORCH

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    asked = {line.strip() for line in REQUIREMENTS.read_text().splitlines() if line.strip() and line[0] != "#"}
    assert asked and asked | {f"torch{TORCH}"} <= set(project)
    assert not any(re.match(r"(torch|numpy|scipy|SimpleITK|vtk)\b", line, re.IGNORECASE) for line in asked)


# the .ui file

def test_the_ui_file_is_a_qmrmlwidget_wired_to_the_scene():
    top = UI.find("widget")
    assert top.get("class") == "qMRMLWidget" and len(NAMES) == len(set(NAMES))
    wired = {c.findtext("receiver") for c in UI.iter("connection")
             if c.findtext("sender") == top.get("name") and c.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"}
    assert wired == {w.get("name") for w in UI.iter("widget") if w.get("class").startswith("qMRML") and w is not top}
    custom = {c.findtext("class") for c in UI.iter("customwidget")}
    assert custom == {w.get("class") for w in UI.iter("widget") if not w.get("class").startswith("Q")}


def test_every_bound_widget_has_its_parameter(module):
    bound = [p.findtext("string") for p in UI.iter("property") if p.get("name") == "SlicerParameterName"]
    fields = module.MedLLMSegParameterNode.__annotations__
    assert len(bound) == len(set(bound)) and {"inputVolume", "outputSegmentation"} <= set(bound) <= set(fields)
    assert module.MedLLMSegParameterNode(None).outputSegmentation is None  # a new node by default


def test_every_widget_that_the_code_names_is_in_the_ui_file():
    assert set(re.findall(r"self\.ui\.(\w+)", MODULE.read_text())) <= set(NAMES)


# the panel

def test_setup_takes_the_first_volume_and_enables_the_button(widget):
    assert widget._parameterNode.inputVolume.name == "the first volume" and widget._parameterNode.bound == 1
    widget._checkCanApply()
    assert widget.ui.segmentButton.enabled is True


def test_without_a_volume_the_button_says_what_is_missing(widget):
    widget._parameterNode.inputVolume = None
    widget._checkCanApply()
    assert widget.ui.segmentButton.enabled is False and "Load a scan" in widget.ui.segmentButton.toolTip


def test_leaving_entering_closing_and_cleaning_up_bind_and_unbind_in_pairs(widget):
    first = widget._parameterNode
    widget.exit()
    widget.onSceneStartClose(None, None)
    widget.onSceneEndClose(None, None)
    widget.enter()
    assert first.bound == 0 and widget._parameterNode.bound == 1
    last = widget._parameterNode
    widget.cleanup()
    assert last.bound == 0 and not widget.observed


class Logic:
    """Segments, fails or lets itself be cancelled."""

    def __init__(self, error=None):
        self.error, self.calls = error, []

    def segment(self, volume, segmentation, *, model, side, progress):
        self.calls.append((volume, segmentation, model, side))
        progress("segment left", 0.5)
        if self.error:
            raise self.error
        self.result = types.SimpleNamespace(seconds=3.21, notes=("The right hippocampus was not found.",))
        return types.SimpleNamespace(GetName=lambda: "MRHead segmentation")


def test_a_second_press_during_a_run_does_nothing(widget):
    class Impatient(Logic):
        def segment(self, *arguments, progress, **options):
            widget._checkCanApply()  # what any change of the parameter node does
            assert not widget.ui.segmentButton.enabled
            widget.onSegmentButton()
            return super().segment(*arguments, progress=progress, **options)

    widget.logic = Impatient()
    widget.onSegmentButton()
    assert len(widget.logic.calls) == 1 and widget.ui.segmentButton.enabled


def test_pressing_segment(widget, module, stand_ins):
    widget.logic = Logic()
    widget._parameterNode.side = module.Side.LEFT
    widget.onSegmentButton()
    assert [(v.name, *more) for v, *more in widget.logic.calls] == [("the first volume", None, "hippocampus-t1", "left")]
    assert widget.ui.statusLabel.text == "MRHead segmentation: done in 3.2 s. The right hippocampus was not found."
    assert (stand_ins.dialog.labelText, stand_ins.dialog.value) == ("segment left", 50)
    assert not stand_ins.shown and widget.ui.segmentButton.enabled is True


@pytest.mark.parametrize("error, sentence", [
    (UserError("The scan is flat."), "The scan is flat."),
    (RuntimeError("boom"), "The segmentation failed (boom); nothing was changed."),
])
def test_a_failure_is_shown_as_one_sentence(widget, stand_ins, error, sentence):
    widget.logic = Logic(error)
    widget.onSegmentButton()
    assert [text for text, _ in stand_ins.shown] == [sentence] and widget.ui.statusLabel.text == sentence
    assert ("detailedText" in stand_ins.shown[0][1]) is isinstance(error, RuntimeError)
    assert widget.ui.segmentButton.enabled is True


def test_cancel_in_the_progress_dialog_stops_the_run_without_an_error(widget, stand_ins):
    widget.logic, stand_ins.dialog.wasCanceled = Logic(), True
    widget.onSegmentButton()
    assert not stand_ins.shown and "Cancelled" in widget.ui.statusLabel.text and not hasattr(widget.logic, "result")


def test_packages_that_may_not_be_installed_stop_it_before_the_logic(widget, module, monkeypatch, stand_ins):
    def refuse(requester):
        raise UserError("PyTorch was not installed.")

    monkeypatch.setattr(module, "ensure_packages", refuse)
    widget.logic = Logic()
    widget.onSegmentButton()
    assert not widget.logic.calls and stand_ins.shown[0][0] == "PyTorch was not installed."


def test_reload_takes_the_library_along(widget, monkeypatch):
    monkeypatch.setattr(sys, "modules", {**sys.modules, "MedLLMSegLib.gone": types.ModuleType("gone")})
    widget.onReload()
    assert widget.reloaded and not any(name.split(".")[0] == "MedLLMSegLib" for name in sys.modules)


def test_the_logic_is_both_slicers_and_ours(module):
    logic = module.MedLLMSegLogic(segmentFunction=len)
    assert logic.segmentFunction is len and callable(logic.segment)
    assert isinstance(logic.getParameterNode(), module.MedLLMSegParameterNode)


def test_the_sides_are_what_segment_understands(module):
    assert [side.value for side in module.Side] == [None, "left", "right"]
    assert all(side.label() for side in module.Side)


# packages

class Packages:
    """Stand-ins for PyTorchUtils and slicer.packaging."""

    def __init__(self, monkeypatch, torch=None, installs="torch", ensures=None, has_extension=True):
        from MedLLMSegLib.slicer_bridge import install

        self.asked, self.install = [], install

        def version(name):
            if torch is None:
                raise install.PackageNotFoundError(name)
            return torch

        def installTorch(logic, askConfirmation, torchVersionRequirement):
            self.asked.append(("torch" + torchVersionRequirement, askConfirmation))
            if isinstance(installs, Exception):
                raise installs
            return installs

        def pip_ensure(requirements, requester, constraints):
            self.asked.append((requirements, requester))
            self.held = Path(constraints).read_text()
            if ensures:
                raise ensures

        monkeypatch.setattr(install, "version", version)
        utils = types.ModuleType("PyTorchUtils")
        utils.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": installTorch})
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utils if has_extension else None)
        packaging = types.ModuleType("slicer.packaging")
        packaging.pip_ensure, packaging.load_requirements = pip_ensure, lambda path: Path(path).name
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)


def test_missing_packages_are_asked_for_with_consent(stand_ins, monkeypatch):
    packages = Packages(monkeypatch)
    packages.install.ensure_packages("MedLLMSeg")
    assert packages.asked == [("torch" + packages.install.TORCH, True), ("requirements.txt", "MedLLMSeg")]


def test_a_torch_that_is_there_is_left_alone(stand_ins, monkeypatch):
    packages = Packages(monkeypatch, torch="2.13.0+cu126")
    packages.install.ensure_packages("MedLLMSeg")
    assert packages.asked == [("requirements.txt", "MedLLMSeg")]
    assert "torch==2.13.0+cu126\n" in packages.held and "numpy==" in packages.held  # pip may not exchange them


@pytest.mark.parametrize("world, says", [
    (dict(has_extension=False), "Extensions Manager"), (dict(installs=None), "was not installed"),
    (dict(installs=OSError("no network")), "check the network"), (dict(torch="1.13.1"), "PyTorch 1.13.1 is installed"),
    (dict(ensures=RuntimeError("User declined package installation")), "were not installed"),
    (dict(ensures=subprocess.CalledProcessError(1, "pip")), "check the network"),
], ids=["no extension", "torch declined", "torch fails", "torch too old", "packages declined", "packages fail"])
def test_what_goes_wrong_with_packages_is_one_sentence_with_a_way_on(stand_ins, monkeypatch, world, says):
    packages = Packages(monkeypatch, **world)
    with pytest.raises(UserError) as refusal:
        packages.install.ensure_packages("MedLLMSeg")
    assert says in str(refusal.value) and str(refusal.value).endswith(".")


def test_cancelled_is_no_error_of_the_users():
    assert not issubclass(Cancelled, UserError)
