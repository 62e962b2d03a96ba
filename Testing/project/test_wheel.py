"""What `pip install` puts on a computer: the library with its models and licences, and nothing
else.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources (building leaves files beside them), made without a
    network.
    """
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "MedLLMSegLib", folder / "MedLLMSegLib", ignore=shutil.ignore_patterns("__pycache__")
    )
    for weights in (folder / "MedLLMSegLib").rglob("*.safetensors"):
        weights.write_bytes(b"")  # packing megabytes takes long
    (folder / "Testing").mkdir()
    (folder / "Testing" / "__init__.py").write_text("")  # what must never be installed
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"  # what pip calls
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "dist").glob("medllmseg-*.whl"))


def test_everything_of_the_library_is_in_it_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "MedLLMSegLib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }
    assert names == sources, sorted(names ^ sources)[:5]
    for part in (
        "bundles/hippocampus-t1/LICENSE",
        "bundles/llm/smollm2-135m-layer29.safetensors",
        "bundles/licences/CC-BY-SA-4.0.txt",
        "slicer_bridge/install/requirements-train.txt",
        "worker/__main__.py",
    ):
        assert f"MedLLMSegLib/{part}" in names


def test_it_says_its_licence_and_homepage(wheel):
    with zipfile.ZipFile(wheel) as archive:
        about = next(
            archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")
        )
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert "License-Expression: Apache-2.0" in about
    assert "Homepage, https://github.com/medllmseg/SlicerMedLLMSeg" in about


def test_no_file_of_the_library_is_looked_for_outside_of_it():
    """LICENSE and docs lie beside the library in the repository, and nowhere once it is
    installed.
    """
    outside = []
    for path in (ROOT / "MedLLMSegLib").rglob("*.py"):
        depth = len(path.relative_to(ROOT).parts) - 1  # parents[depth - 1] is MedLLMSegLib
        text = path.read_text(encoding="utf-8")
        outside += [
            f"{path.name}: parents[{n}]"
            for n in re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", text)
            if int(n) >= depth
        ]
    assert not outside
