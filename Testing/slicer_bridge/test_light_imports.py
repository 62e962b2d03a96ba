"""Until the user agrees to install packages, the panel uses only those that Slicer itself brings.

Slicer's build lists them in SuperBuild/External_python-*.cmake.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stand-ins for Slicer's own modules, and a finder that answers every other request with "missing".
FRESH_PYTHON = """
import importlib, json, pkgutil, sys, types

sys.path[:0] = [{root!r}, {root!r} + "/MedLLMSeg", *{extra_paths!r}]

OURS = ("MedLLMSegLib", "MedLLMSeg", *{ours!r})
SLICERS = ("numpy", "scipy", "SimpleITK", "pydicom", "packaging", "slicer", "vtk", "qt", "ctk")
ALLOWED = {{*sys.stdlib_module_names, *SLICERS, *OURS}}


class AnyModule(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        return name if name.startswith("__") else type(name, (), {{}})


for name in (
    "slicer", "slicer.util", "slicer.i18n", "slicer.ScriptedLoadableModule",
    "slicer.parameterNodeWrapper", "vtk", "vtk.util", "vtk.util.numpy_support", "qt", "ctk",
):
    sys.modules[name] = AnyModule(name)
sys.modules["slicer"].app = types.SimpleNamespace(connect=lambda signal, slot: None)
sys.modules["slicer.i18n"].tr = str
sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda kind: kind
sys.modules["slicer.parameterNodeWrapper"].WithinRange = lambda low, high: None
sys.modules["vtk"].calldata_type = lambda kind: lambda method: method


def importer():
    frame = sys._getframe(2)
    while "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame.f_globals.get("__name__", "")


class OnlySlicersPackages:
    "Blocks every package but the allowed ones, and notes which of them our own code asked for."

    def __init__(self):
        self.wanted = []

    def find_spec(self, name, path=None, target=None):
        package = name.split(".")[0]
        if package in ALLOWED or package.startswith("_sysconfigdata"):
            return None
        asked_by = importer()
        # numpy and others try optional packages, and go on without them
        if asked_by == "__main__" or asked_by.split(".")[0] in OURS:
            self.wanted.append(f"{{name}}, by {{asked_by}}")
        raise ModuleNotFoundError(f"{{name}} is not one of Slicer's packages", name=name)


finder = OnlySlicersPackages()
sys.meta_path.insert(0, finder)
errors = []


def try_import(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        errors.append(f"{{name}}: {{error}}")


for name in {names!r}:
    try_import(name)
    if {walk!r}:
        package = sys.modules.get(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", ()), name + "."):
            try_import(found.name)
{then}
modules = [name for name in sys.modules if name.startswith("MedLLMSegLib.slicer_bridge.")]
print(json.dumps({{"wanted": finder.wanted, "errors": errors, "modules": sorted(modules)}}))
"""


def fresh_imports(names, walk=True, extra_paths=(), ours=(), then=""):
    """What a fresh Python with Slicer's packages alone says of importing these modules.

    then: code to run afterwards.
    """
    code = FRESH_PYTHON.format(
        root=str(ROOT),
        names=names,
        walk=walk,
        extra_paths=list(extra_paths),
        ours=list(ours),
        then=then,
    )
    done = subprocess.run(
        [sys.executable, "-E", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_panel_needs_no_package_beyond_slicers_own():
    found = fresh_imports(["MedLLMSeg", "MedLLMSegLib.slicer_bridge", "MedLLMSegLib.worker.client"])
    assert found["wanted"] == []
    assert found["errors"] == []
    files = (ROOT / "MedLLMSegLib" / "slicer_bridge").rglob("*.py")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    expected = {name for name in names if not name.endswith(".__init__")}
    assert expected <= set(found["modules"]), "not every module of the bridge was imported"


FIRST_LOOK = """
from MedLLMSegLib.slicer_bridge.install import licence_consent, packages
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.view import view

logic = SegmentationLogic()
models = logic.models()
assert models
view(Panel(models=models, classifiers=logic.classifiers(), model=models[0].entry.id))
licence_consent.must_ask(models[0].entry)
packages.missing_packages("segment"), packages.missing_packages("train")
"""


def test_the_panel_asks_for_packages_without_needing_any():
    """What happens until the button says which packages are missing."""
    found = fresh_imports(["MedLLMSeg"], walk=False, then=FIRST_LOOK)
    assert found["wanted"] == []
    assert found["errors"] == []


@pytest.mark.parametrize(
    "line", ["import requests", "from torch import nn", "import einops.layers"]
)
def test_a_package_beyond_slicers_own_is_named(tmp_path, line):
    package = line.split()[1].split(".")[0]
    (tmp_path / "careless.py").write_text(f"import numpy\n{line}\n")
    found = fresh_imports(["careless"], walk=False, extra_paths=[str(tmp_path)], ours=["careless"])
    assert found["wanted"] == [f"{package}, by careless"]
    assert package in found["errors"][0]
