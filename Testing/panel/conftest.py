"""The panel in a PySide6 window off screen, over the real .ui and real MRML nodes.

PySide6 (requirements-dev.txt) needs the system's libEGL, libGL, libxkbcommon, libdbus and
fontconfig, and a font; where they are missing these tests are skipped and say so.
"""

import importlib.util
import os
import sys
import traceback
import types
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib.registry import catalogue
from MedLLMSegLib.registry.licences import ACCEPTED

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
try:
    import slicer_core  # noqa: F401  (only to see whether it is installed)
    from PySide6 import QtWidgets

    from Testing.helpers.empty_scene import empty_scene
    from Testing.panel import desktop, pictures
    from Testing.panel.stand_in import Logic

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    for item in items:
        if MISSING and Path(__file__).parent in Path(item.path).parents:
            item.add_marker(
                pytest.mark.skip(reason=f"the panel's window cannot be made here: {MISSING}")
            )


@pytest.fixture(autouse=True)
def raised(monkeypatch):
    """What slots and observers raise: Qt and VTK print it and go on, and here it fails the test."""
    errors = []
    monkeypatch.setattr(
        sys,
        "excepthook",
        lambda kind, error, trace: errors.append("".join(traceback.format_exception(error))),
    )
    yield errors
    assert not errors, "\n".join(errors)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Of a user who has accepted one model's licence."""
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ACCEPTED).write_text('{"hippocampus-t1": {"licence": "CC-BY-SA-4.0"}}')
    return tmp_path / "cache"


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
def module(application, slicer_scene, monkeypatch, said):
    """MedLLMSeg.py, imported into the stand-in desktop over an empty scene."""
    import slicer

    def ask(text, **options):
        said["asked"].append(text)
        return said["agrees"]

    monkeypatch.setattr(slicer, "mrmlScene", slicer_scene)
    # The first of the stand-in's models below; MedLLMSeg.py reads it as it is imported.
    monkeypatch.setattr(catalogue, "DEFAULT_SEGMENTER", "hippocampus-t1")
    clipboard = types.SimpleNamespace(setText=said["copied"].append)
    app = types.SimpleNamespace(
        clipboard=lambda: clipboard, connect=lambda signal, slot: said.update({signal: slot})
    )
    monkeypatch.setattr(slicer, "app", app, raising=False)
    for name, stand_in in (
        ("mainWindow", lambda: None),
        ("showStatusMessage", lambda *_: None),
        ("confirmOkCancelDisplay", ask),
        ("infoDisplay", lambda text, **options: said["shown"].append((text, options))),
    ):
        monkeypatch.setattr(slicer.util, name, stand_in)
    for name, stand_in in desktop.make_modules(said).items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    for name in [
        n
        for n, loaded in sys.modules.items()
        if n.startswith("MedLLMSegLib.slicer_bridge.panel.") and hasattr(loaded, "qt")
    ]:
        monkeypatch.delitem(sys.modules, name)  # they hold on to a `qt`
    spec = importlib.util.spec_from_file_location("MedLLMSeg", desktop.MODULE)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "MedLLMSeg", loaded)
    spec.loader.exec_module(loaded)
    yield loaded
    empty_scene(slicer_scene)


@pytest.fixture
def logic(module, monkeypatch):
    from MedLLMSegLib.registry.catalogue import ModelEntry
    from MedLLMSegLib.registry.memory_estimate import ModelChoice

    def choice(name, title, modality, structures, licence, accuracy, size, fits=True, ask=False):
        entry = ModelEntry(
            name,
            title,
            "segmenter",
            modality,
            structures,
            licence,
            accuracy,
            "0" * 64,
            ROOT / "MedLLMSegLib" / "bundles" / name,
            ask,
            size,
        )
        text = (
            "needs about 1.2 GB of memory, this computer has 12.4 GB free"
            if fits
            else ("needs about 21.0 GB of memory, this computer has 12.4 GB free")
        )
        return ModelChoice(entry, fits, text)

    own = Logic(
        (
            choice(
                "hippocampus-t1",
                "Hippocampus, anterior and posterior, in T1 MRI",
                "MR T1",
                ("anterior hippocampus", "posterior hippocampus"),
                "CC-BY-SA-4.0",
                "mean Dice 0.876 on 32 test crops",
                11.9,
            ),
            choice(
                "heart-cine",
                "Heart in cine MRI",
                "MR cine",
                ("right ventricle", "myocardium", "left ventricle"),
                "CC-BY-NC-SA-4.0",
                "mean Dice 0.871 on 50 test patients",
                15.3,
                ask=True,
            ),
            choice(
                "body-ct",
                "Everything in the body",
                "CT",
                ("104 structures",),
                "Apache-2.0",
                "not measured",
                410,
                fits=False,
            ),
        )
    )
    own.parameters, own.real = module.MedLLMSegParameterNode, module.MedLLMSegLogic
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: own)
    return own


@pytest.fixture
def make_panel(module, logic, monkeypatch):
    """make_panel() -> the widget, set up and entered in a window of 400 pixels."""
    made = []

    def make(packages=()):
        from MedLLMSegLib.slicer_bridge.install import packages as install

        missing = list(packages)
        monkeypatch.setattr(install, "missing_packages", lambda task="segment": list(missing))
        window = QtWidgets.QWidget()
        window.isEntered = True
        QtWidgets.QVBoxLayout(window).setContentsMargins(6, 6, 6, 6)
        panel = module.MedLLMSegWidget(window)
        panel.setup()
        panel.enter()
        made.append(panel)
        panel.missing = missing  # until a test clears it
        window.show()
        return panel

    yield make
    for panel in made:
        panel.cleanup()
        desktop.release(panel.parent)


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


@pytest.fixture
def shown_over(module):
    """shown_over() -> the volume that the slice views show over the scan, or None; shown_over.view
    is one of them.
    """
    import slicer

    view = slicer.vtkMRMLSliceCompositeNode()
    view.SetSingletonTag("Red")
    view = slicer.mrmlScene.AddNode(view)

    def shown():
        from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of

        foreground = slicer.mrmlScene.GetNodeByID(view.GetForegroundVolumeID() or "")
        if foreground is None:
            return None
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((v for v in volumes if layer_of(v) is foreground), foreground)

    shown.view = view
    yield shown
    slicer.mrmlScene.RemoveNode(view)  # closing a scene leaves the only node of a tag


@pytest.fixture
def pairs(module, drawn, scan):
    """Two scans with what was drawn on them."""
    import slicer

    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="T1 of patient 2")
    return [(scan, drawn("MRHead manual", scan)), (other, drawn("Patient 2 manual", other))]


@pytest.fixture
def picture(application, request):
    """picture(panel, name, *open sections): saves it light and dark at 400 pixels, and fails
    where a text is cut off. width: other than 400. part: a widget's name, of which alone the
    picture is.
    """
    folder = Path(os.environ.get("PANEL_PICTURES") or request.config.rootpath / "build" / "panel")
    folder.mkdir(parents=True, exist_ok=True)

    def save(panel, name, *opened, width=pictures.WIDTH, part=None):
        for section in opened:
            getattr(panel.ui, section + "CollapsibleButton").collapsed = False
        for theme in ("light", "dark"):
            application.setPalette(pictures.palette(theme == "dark"))
            pictures.settle(panel, application, width)
            drawn = panel.parent if part is None else getattr(panel.ui, part)
            drawn.grab().save(str(folder / f"{name}-{theme}.png"))
        assert panel.parent.width() == width, f"the panel needs {panel.parent.width()} pixels"
        cut = [
            text
            for text in map(pictures.cut_off, panel.parent.findChildren(QtWidgets.QWidget))
            if text
        ]
        assert not cut, f"cut off at {width} pixels: {cut}"

    save.folder = folder
    yield save
    application.setPalette(pictures.palette(False))
