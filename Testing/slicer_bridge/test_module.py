"""The scripted module's files: what it imports, its .ui, and its names.

Its widget runs in Testing/panel; what PythonQt and the desktop really do is tested inside Slicer by
MedLLMSegTest.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedLLMSeg" / "MedLLMSeg.py"
PANEL = [MODULE, *sorted((ROOT / "MedLLMSegLib" / "slicer_bridge" / "panel").glob("*.py"))]
UI = ElementTree.parse(ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui").getroot()
NAMES = [widget.get("name") for widget in UI.iter("widget")]
CLASSES = {
    node.name: node
    for node in ast.parse(MODULE.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}


# importing


def test_slicer_finds_the_classes_that_it_looks_for():
    assert {"MedLLMSeg" + suffix for suffix in ("", "Widget", "Logic", "Test")} <= set(CLASSES)


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
sys.modules["vtk"].calldata_type = lambda kind: lambda method: method
sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda kind: kind
sys.modules["slicer.parameterNodeWrapper"].WithinRange = lambda low, high: None
sys.modules["slicer.i18n"].tr = str
before = set(sys.modules)
import MedLLMSeg
print(json.dumps(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""


def test_nothing_heavy_is_imported_when_slicer_starts(tmp_path):
    """From a source checkout too, where only the module's own folder is on the path."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", IMPORT.format(folder=str(MODULE.parent))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout))
    assert "MedLLMSegLib" in imported
    third_party = {
        name
        for name in imported - {"MedLLMSeg", "MedLLMSegLib"}
        if name not in sys.stdlib_module_names
    }
    assert not third_party, "Slicer would import these each time it starts"


# the .ui file


def test_the_ui_file_is_a_qmrmlwidget_wired_to_the_scene():
    top = UI.find("widget")
    assert top.get("class") == "qMRMLWidget"
    assert len(NAMES) == len(set(NAMES))
    wired = {
        c.findtext("receiver")
        for c in UI.iter("connection")
        if c.findtext("sender") == top.get("name")
        and c.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert wired == {
        w.get("name") for w in UI.iter("widget") if w.get("class") == "qMRMLNodeComboBox"
    }
    extended = {c.findtext("class"): c.findtext("extends") for c in UI.iter("customwidget")}
    used = {w.get("class") for w in UI.iter("widget") if not w.get("class").startswith("Q")}
    assert used <= set(extended)
    assert {e for e in extended.values() if not e.startswith("Q")} <= set(extended)


def test_every_bound_widget_has_its_parameter():
    bound = [
        p.findtext("string") for p in UI.iter("property") if p.get("name") == "SlicerParameterName"
    ]
    fields = {
        node.target.id
        for node in CLASSES["MedLLMSegParameterNode"].body
        if isinstance(node, ast.AnnAssign)
    }
    assert len(bound) == len(set(bound))
    assert {"inputVolume", "outputSegmentation"} <= set(bound) <= fields


def test_every_widget_that_the_code_names_is_in_the_ui_file():
    named = {
        name
        for path in PANEL
        for name in re.findall(r"\bui\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert "segmentButton" in named
    assert named <= set(NAMES)


def test_every_button_of_the_ui_file_does_something():
    buttons = {w.get("name") for w in UI.iter("widget") if w.get("class") == "QPushButton"}
    connected = {
        name
        for path in PANEL
        for name in re.findall(
            r"ui\.(\w+)\.connect\(\s*\"clicked", path.read_text(encoding="utf-8")
        )
    }
    assert buttons == connected


def test_texts_are_translated_one_by_one():
    """_() takes a literal, which Slicer's tools can find, and never a text that was put
    together.
    """
    bridge = ROOT / "MedLLMSegLib" / "slicer_bridge"
    for path in [MODULE, *sorted(bridge.rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "_"
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
