"""The scripted module's files: what it imports, its .ui, its names, and the packages it asks for.

Its widget runs in Testing/panel; what PythonQt and the desktop really do is tested inside Slicer by MedLLMSegTest.
"""
import ast
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
PANEL = [MODULE, *sorted((ROOT / "MedLLMSegLib" / "slicer_bridge").glob("panel_*.py"))]
UI = ElementTree.parse(ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui").getroot()
NAMES = [widget.get("name") for widget in UI.iter("widget")]
CLASSES = {node.name: node for node in ast.parse(MODULE.read_text()).body if isinstance(node, ast.ClassDef)}


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
sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda kind: kind
sys.modules["slicer.parameterNodeWrapper"].WithinRange = lambda low, high: None
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
    assert wired == {w.get("name") for w in UI.iter("widget") if w.get("class") == "qMRMLNodeComboBox"}
    extended = {c.findtext("class"): c.findtext("extends") for c in UI.iter("customwidget")}
    used = {w.get("class") for w in UI.iter("widget") if not w.get("class").startswith("Q")}
    assert used <= set(extended) and {e for e in extended.values() if not e.startswith("Q")} <= set(extended)


def test_every_bound_widget_has_its_parameter():
    bound = [p.findtext("string") for p in UI.iter("property") if p.get("name") == "SlicerParameterName"]
    fields = {node.target.id for node in CLASSES["MedLLMSegParameterNode"].body if isinstance(node, ast.AnnAssign)}
    assert len(bound) == len(set(bound)) and {"inputVolume", "outputSegmentation"} <= set(bound) <= fields


def test_every_widget_that_the_code_names_is_in_the_ui_file():
    named = {name for path in PANEL for name in re.findall(r"\bui\.(\w+)", path.read_text())}
    assert "segmentButton" in named and named <= set(NAMES)


def test_every_button_of_the_ui_file_does_something():
    buttons = {w.get("name") for w in UI.iter("widget") if w.get("class") == "QPushButton"}
    connected = {name for path in PANEL for name in re.findall(r"ui\.(\w+)\.connect\(\"clicked", path.read_text())}
    assert buttons == connected


def test_texts_are_translated_one_by_one():
    """_() takes a literal, which Slicer's tools can find, and never a text that was put together."""
    for path in [*PANEL, *sorted((ROOT / "MedLLMSegLib" / "slicer_bridge").glob("presenter*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


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


def test_missing_packages_are_asked_for_with_consent(monkeypatch):
    packages = Packages(monkeypatch)
    packages.install.ensure_packages("MedLLMSeg")
    assert packages.asked == [("torch" + packages.install.TORCH, True), ("requirements.txt", "MedLLMSeg")]


def test_a_torch_that_is_there_is_left_alone(monkeypatch):
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
def test_what_goes_wrong_with_packages_is_one_sentence_with_a_way_on(monkeypatch, world, says):
    packages = Packages(monkeypatch, **world)
    with pytest.raises(UserError) as refusal:
        packages.install.ensure_packages("MedLLMSeg")
    assert says in str(refusal.value) and str(refusal.value).endswith(".")


def test_cancelled_is_no_error_of_the_users():
    assert not issubclass(Cancelled, UserError)
