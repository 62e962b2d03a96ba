"""The panel in a PySide6 window off screen, over the real .ui and real MRML nodes.

PySide6 (requirements-dev.txt) needs the system's libEGL, libGL, libxkbcommon, libdbus and fontconfig, and a font;
where they are missing these tests are skipped and say so.
"""
import importlib.util
import os
import sys
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
try:
    import slicer_core  # noqa: F401
    from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets  # noqa: F401
    from panel import desktop
    from slicer_bridge.conftest import slicer_scene  # noqa: F401  (a fixture)
    MISSING = ""
except ImportError as error:
    MISSING = str(error)

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 400  # pixels; as narrow as Slicer's panel gets


def pytest_collection_modifyitems(items):
    for item in items:
        if MISSING and Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason=f"the panel's window cannot be made here: {MISSING}"))


@dataclass(eq=False)
class Job:
    """As the logic's."""

    kind: str = "segment"
    state: str = "running"
    message: str = ""
    details: str = ""
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    segmentationNode: object = None
    uncertaintyNode: object = None
    tableNode: object = None
    rows: tuple = ()
    notes: tuple = ()
    model: object = None
    onProgress: object = None
    onDone: object = None
    onHistory: object = None

    def say(self, stage, fraction, secondsLeft=None):
        self.stage, self.fraction, self.secondsLeft = stage, fraction, secondsLeft
        self.onProgress(stage, fraction, secondsLeft)

    def end(self, state, **more):
        vars(self).update(state=state, **more)
        self.onDone(self)


@dataclass(eq=False)
class Logic:
    """The API of the panel's logic; its jobs go on when a test says so."""

    choices: tuple = ()
    diagnosers: tuple = ()
    calls: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    error: Exception | None = None

    def _begin(self, job, call):
        if self.error:
            raise self.error
        self.calls.append(call)
        self.job = job
        return job

    def segmentAsync(self, volumeNode, onProgress=None, onDone=None, **options):
        return self._begin(Job(onProgress=onProgress, onDone=onDone), ("segment", volumeNode, options))

    def trainAsync(self, pairs, name, onProgress=None, onDone=None, onHistory=None, **options):
        job = Job("train", onProgress=onProgress, onDone=onDone, onHistory=onHistory)
        return self._begin(job, ("train", pairs, name, options))

    def diagnoseAsync(self, imageNode, onProgress=None, onDone=None, **options):
        return self._begin(Job("diagnose", onProgress=onProgress, onDone=onDone), ("diagnose", imageNode, options))

    def classifiers(self):
        return self.diagnosers

    def showHeatMap(self, table, imageNode=None, show=True):
        self.calls.append(("heat map", table, imageNode, show))

    def cancel(self, job):
        job.state = "cancelling"
        self.calls.append(("cancel", job))

    def models(self):
        return self.choices

    def canRestore(self, node):
        return node in self.kept

    def restore(self, node):
        self.calls.append(("restore", node))

    def showUncertainty(self, node, volumeNode=None, show=True):
        self.calls.append(("overlay", node, show))

    def pythonLines(self, volumeNode, **options):
        return f"segment({volumeNode.GetName()})"

    def commandLine(self, volumeNode, **options):
        return f"medllmseg segment {volumeNode.GetName()}"

    def getParameterNode(self):
        return self.parameters(desktop.Base().getParameterNode())

    def close(self):
        self.calls.append(("close",))


@pytest.fixture(autouse=True)
def raised(monkeypatch):
    """What slots and observers raise: Qt and VTK print it and go on, and here it fails the test."""
    errors = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append("".join(traceback.format_exception(error))))
    yield errors
    assert not errors, "\n".join(errors)


@pytest.fixture(scope="session")
def application():
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["panel"])
    app.setStyle("Fusion")
    return app


@pytest.fixture
def said():
    """What was shown, copied or opened; "path" and "agrees" are what the user answers."""
    return {"path": "", "agrees": True, "asked": [], "shown": [], "copied": [], "opened": []}


@pytest.fixture
def module(application, slicer_scene, monkeypatch, said):  # noqa: F811
    """MedLLMSeg.py, imported into the stand-in desktop over an empty scene."""
    import slicer

    def ask(text, **options):
        said["asked"].append(text)
        return said["agrees"]

    monkeypatch.setattr(slicer, "mrmlScene", slicer_scene)
    clipboard = types.SimpleNamespace(setText=said["copied"].append)
    slicer.app = types.SimpleNamespace(clipboard=lambda: clipboard, connect=lambda signal, slot: said.update({signal: slot}))
    for name, stand_in in (("mainWindow", lambda: None), ("showStatusMessage", lambda *_: None), ("confirmOkCancelDisplay", ask),
                           ("infoDisplay", lambda text, **options: said["shown"].append((text, options)))):
        monkeypatch.setattr(slicer.util, name, stand_in)
    for name, stand_in in desktop.make_modules(said).items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    for name in [n for n in sys.modules if n.startswith("MedLLMSegLib.slicer_bridge.panel_")]:
        monkeypatch.delitem(sys.modules, name)  # they hold on to a `qt`
    spec = importlib.util.spec_from_file_location("MedLLMSeg", desktop.MODULE)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "MedLLMSeg", loaded)
    spec.loader.exec_module(loaded)
    yield loaded
    slicer_scene.Clear(0)
    del slicer.app


@pytest.fixture
def logic(module, monkeypatch):
    from MedLLMSegLib.catalogue import ModelEntry
    from MedLLMSegLib.memory import ModelChoice

    def choice(name, title, modality, structures, licence, accuracy, size, fits=True, ask=False):
        entry = ModelEntry(name, title, "segmenter", modality, structures, licence, accuracy, "0" * 64,
                           ROOT / "MedLLMSegLib" / "bundles" / name, ask, size)
        text = "needs about 1.2 GB of memory, this computer has 12.4 GB free" if fits else (
            "needs about 21.0 GB of memory, this computer has 12.4 GB free")
        return ModelChoice(entry, fits, text)

    own = Logic((
        choice("hippocampus-t1", "Hippocampus, anterior and posterior, in T1 MRI", "MR T1",
               ("anterior hippocampus", "posterior hippocampus"), "CC-BY-SA-4.0", "mean Dice 0.876 on 32 test crops", 11.9),
        choice("heart-cine", "Heart in cine MRI", "MR cine", ("right ventricle", "myocardium", "left ventricle"),
               "CC-BY-NC-SA-4.0", "mean Dice 0.871 on 50 test patients", 15.3, ask=True),
        choice("body-ct", "Everything in the body", "CT", ("104 structures",), "Apache-2.0", "not measured", 410, fits=False)))
    own.parameters, own.real = module.MedLLMSegParameterNode, module.MedLLMSegLogic
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: own)
    return own


@pytest.fixture
def make_panel(module, logic, monkeypatch):
    """make_panel() -> the widget, set up and entered in a window of 400 pixels."""
    made = []

    def make(packages=()):
        from MedLLMSegLib.slicer_bridge import install

        monkeypatch.setattr(install, "missing_packages", lambda task="segment": list(packages), raising=False)
        window = QtWidgets.QWidget()
        window.isEntered = True
        QtWidgets.QVBoxLayout(window).setContentsMargins(6, 6, 6, 6)
        panel = module.MedLLMSegWidget(window)
        panel.setup()
        panel.enter()
        made.append(panel)
        window.show()
        return panel

    yield make
    for panel in made:
        panel.cleanup()
        panel.parent.deleteLater()


@pytest.fixture
def panel(make_panel):
    return make_panel()


@pytest.fixture
def scan(module):
    import slicer

    array = np.random.default_rng(0).normal(100, 20, (8, 9, 10)).astype(np.int16)
    return slicer.util.addVolumeFromArray(array, name="MRHead")


@pytest.fixture
def drawn(module):
    """drawn(name, volume=None) -> a segmentation node, drawn on a volume."""
    import slicer

    def make(name, volume=None):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        if volume is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        return node

    return make


def _palette(dark: bool):
    """Roughly those of Slicer's styles Light Slicer and Dark Slicer."""
    palette, colour = QtGui.QPalette(), QtGui.QColor
    roles = {"Window": "#323232", "WindowText": "#e6e6e6", "Base": "#262626", "AlternateBase": "#2e2e2e", "Text": "#e6e6e6",
             "Button": "#3c3c3c", "ButtonText": "#e6e6e6", "ToolTipBase": "#323232", "ToolTipText": "#e6e6e6",
             "Highlight": "#3d7ebd", "HighlightedText": "#ffffff", "PlaceholderText": "#8f8f8f", "Mid": "#555555",
             "Light": "#555555", "Dark": "#1c1c1c", "Link": "#6cb2ff"} if dark else {
             "Window": "#f0f0f0", "Base": "#ffffff", "Button": "#f0f0f0", "Highlight": "#308cc6", "Mid": "#b8b8b8"}
    for role, value in roles.items():
        palette.setColor(getattr(QtGui.QPalette, role), colour(value))
    if dark:
        for role in ("Text", "WindowText", "ButtonText"):
            palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), colour("#7d7d7d"))
    return palette


@pytest.fixture
def picture(application, request):
    """picture(panel, name, *open sections): saves it light and dark at 400 pixels, and fails where a text is cut off."""
    folder = Path(os.environ.get("PANEL_PICTURES") or request.config.rootpath / "build" / "panel")
    folder.mkdir(parents=True, exist_ok=True)

    def save(panel, name, *opened):
        for section in opened:
            getattr(panel.ui, section + "CollapsibleButton").collapsed = False
        for theme in ("light", "dark"):
            application.setPalette(_palette(theme == "dark"))
            settle(panel, application)
            panel.parent.grab().save(str(folder / f"{name}-{theme}.png"))
        assert panel.parent.width() == WIDTH, f"the panel needs {panel.parent.width()} pixels"
        cut = [text for text in map(cut_off, panel.parent.findChildren(QtWidgets.QWidget)) if text]
        assert not cut, f"cut off at {WIDTH} pixels: {cut}"

    save.folder = folder
    yield save
    application.setPalette(_palette(False))


def settle(panel, application):
    """Lay the window out at 400 pixels, as high as what it shows."""
    window = panel.parent
    window.show()
    for _ in range(4):  # word-wrapped labels find their height in rounds
        application.processEvents()
        window.resize(WIDTH, max(window.layout().minimumSize().height(), window.layout().heightForWidth(WIDTH)))


def cut_off(widget) -> str:
    """The text of a button, label or list that does not fit into its widget, else ""."""
    get = lambda name: QtCore.QObject.property(widget, name)
    wide = lambda text: QtGui.QFontMetrics(get("font")).horizontalAdvance(text)
    if not widget.isVisible():
        return ""
    if isinstance(widget, QtWidgets.QLabel) and get("wordWrap"):
        return get("text") if QtWidgets.QLabel.heightForWidth(widget, get("width")) > get("height") else ""
    if isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QLabel, QtWidgets.QCheckBox)):
        return get("text") if get("sizeHint").width() > get("width") else ""
    if isinstance(widget, desktop.qMRMLNodeComboBox):
        return ""  # Slicer's own shortens a node's name
    if isinstance(widget, QtWidgets.QComboBox):
        return get("currentText") if wide(get("currentText")) > get("width") - 28 else ""
    if isinstance(widget, QtWidgets.QListWidget):
        shown = [widget.item(n).text() for n in range(get("count"))]
        return " ".join(text for text in shown if wide(text) > widget.viewport().width() - 4)
    return ""
