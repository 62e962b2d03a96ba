"""Packages in Slicer: what is missing and how large it is, installing it through Slicer's own
ways, and what goes wrong.
"""

import importlib
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.install import packages as install

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"segment": (install.REQUIREMENTS,), "train": (install.REQUIREMENTS, install.TRAINING)}


def lines(*paths):
    return [
        line.strip()
        for path in paths
        for line in path.read_text().splitlines()
        if line.strip() and line[0] != "#"
    ]


class World:
    """Stand-ins for the installed packages, PyTorchUtils, slicer.packaging and slicer.app.

    have: package -> version. torch, others: what installing does: "works", "declined", "nothing" or
    an error.
    """

    def __init__(
        self, monkeypatch, have=None, torch="works", others="works", extension=True, testing=False
    ):
        self.have, self.asked, self.held = dict(have or {}), [], ""
        self.torch, self.others = torch, others
        utils = types.ModuleType("PyTorchUtils")
        utils.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=self.install_torch)
        packaging = types.ModuleType("slicer.packaging")
        packaging.pip_ensure, packaging.load_requirements = (
            self.pip_ensure,
            lambda path: lines(Path(path)),
        )
        slicer = types.ModuleType("slicer")
        slicer.__path__, slicer.app = [], types.SimpleNamespace(testingEnabled=lambda: testing)
        for module in (slicer, packaging):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utils if extension else None)
        monkeypatch.setattr(install, "version", self.version)
        monkeypatch.setattr(
            install,
            "distributions",
            lambda: [
                types.SimpleNamespace(metadata={"Name": name}, version=number)
                for name, number in self.have.items()
            ],
        )

    def version(self, name):
        if name not in self.have:
            raise install.PackageNotFoundError(name)
        return self.have[name]

    def install_torch(self, askConfirmation, torchVersionRequirement):
        self.asked.append(("torch" + torchVersionRequirement, askConfirmation))
        if isinstance(self.torch, Exception):
            raise self.torch
        if self.torch == "works":
            self.have["torch"] = "2.13.0+cu126"
        return None if self.torch == "declined" else "the module"

    def pip_ensure(self, requirements, requester, constraints, prompt_install):
        self.asked.append((*requirements, prompt_install))
        self.held = Path(constraints).read_text()
        if isinstance(self.others, Exception):
            raise self.others
        if self.others == "works":
            self.have |= {re.split(r"[<>=]", line)[0]: "99" for line in requirements}


SLICERS = {"numpy": "2.0.2", "SimpleITK": "2.5.0", "pillow": "11.0"}
DECODERS = {
    "python-gdcm": "3.2.6",
    "pylibjpeg": "2.1.0",
    "pyjpegls": "1.5.1",
    "pylibjpeg-openjpeg": "2.6.0",
}
ALL = {
    "torch": "2.13.0",
    "safetensors": "0.8.0",
    "einops": "0.8.2",
    **DECODERS,
}


def test_what_is_missing_is_named_with_its_size(monkeypatch):
    World(monkeypatch, SLICERS)
    missing = install.missing_packages()
    assert missing[0].startswith("PyTorch (0.2 GB to download")
    assert "several GB for an NVIDIA GPU" in missing[0]
    assert missing[1:] == [
        "safetensors (1 MB)",
        "einops (below 1 MB)",
        "python-gdcm (13 MB)",
        "pylibjpeg (below 1 MB)",
        "pyjpegls (3 MB)",
        "pylibjpeg-openjpeg (2 MB)",
    ]
    assert install.missing_packages("train")[7:] == [
        "monai (2 MB)",
        "lightning-fabric (below 1 MB)",
        "matplotlib (24 MB)",
    ]


def test_what_is_there_is_not_missing_and_what_is_too_old_is(monkeypatch):
    World(monkeypatch, ALL)
    assert install.missing_packages() == []
    assert len(install.missing_packages("train")) == 3
    World(monkeypatch, {**ALL, "einops": "0.6.0"})
    assert install.missing_packages() == ["einops (below 1 MB)"]
    World(monkeypatch, {**ALL, "monai": "1.3.0"})
    assert install.missing_packages() == []
    assert "monai (2 MB)" in install.missing_packages("train")


def test_looking_imports_nothing_heavy():
    code = (
        "import sys, MedLLMSegLib.slicer_bridge.install.packages as i; i.missing_packages('train');"
        " print({'torch', 'monai', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("task", ["segment", "train"])
def test_all_is_installed_torch_first_and_nothing_of_slicers_is_exchanged(monkeypatch, task, ask):
    world = World(monkeypatch, {**SLICERS, "einops": "0.6.0"})
    install.ensure_packages("MedLLMSeg", task, ask=ask)
    assert world.asked == [(f"torch{install.TORCH}", ask), (*lines(*LISTS[task]), ask)]
    assert world.held.splitlines() == sorted(
        ["numpy==2.0.2", "SimpleITK==2.5.0", "pillow==11.0", "torch==2.13.0+cu126"]
    )
    assert install.missing_packages(task) == []


def test_when_all_is_there_nobody_is_asked(monkeypatch):
    world = World(monkeypatch, ALL, extension=False)
    install.ensure_packages("MedLLMSeg")
    assert world.asked == []


def test_a_torch_that_is_there_is_left_alone(monkeypatch):
    world = World(monkeypatch, {**SLICERS, "torch": "2.13.0+cu126"})
    install.ensure_packages("MedLLMSeg")
    assert world.asked == [(*lines(install.REQUIREMENTS), False)]
    assert "torch==2.13.0+cu126\n" in world.held


@pytest.mark.parametrize(
    "world, says",
    [
        (dict(extension=False), "Extensions Manager"),
        (dict(torch="declined"), "was not installed"),
        (dict(torch=OSError("no network")), "check the network"),
        (dict(have={"torch": "1.13.1"}), "PyTorch 1.13.1 is installed"),
        (dict(others=RuntimeError("User declined package installation")), "were not installed"),
        (dict(others=subprocess.CalledProcessError(1, "pip")), "check the network"),
        (dict(torch="nothing"), "torch could not be installed"),
        (
            dict(others="nothing"),
            "pyjpegls, pylibjpeg-openjpeg could not",
        ),
        (dict(testing=True), "without --testing"),
    ],
    ids=[
        "no extension",
        "torch declined",
        "torch fails",
        "torch too old",
        "packages declined",
        "packages fail",
        "torch vanishes",
        "packages vanish",
        "Slicer tests itself",
    ],
)
def test_what_goes_wrong_is_one_sentence_with_a_way_on(monkeypatch, world, says):
    made = World(monkeypatch, **world)
    with pytest.raises(UserError) as refusal:
        install.ensure_packages("MedLLMSeg")
    message = str(refusal.value)
    assert says in message
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message
    assert not (world.get("testing") and made.asked)


def test_a_slicer_that_is_too_old_is_told_so(monkeypatch):
    World(monkeypatch, {"torch": "2.13.0"})
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    with pytest.raises(UserError, match=r"needs Slicer 5\.12 or later"):
        install.ensure_packages("MedLLMSeg")


def test_the_lists_agree_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = set(lines(install.REQUIREMENTS))
    assert asked
    assert asked | {f"torch{install.TORCH}"} <= set(project["dependencies"])
    assert set(lines(install.TRAINING)) <= set(project["optional-dependencies"]["train"])
    everything = [re.split(r"[<>=]", line)[0] for line in lines(*LISTS["train"])]
    assert not {"torch", "numpy", "scipy", "SimpleITK", "vtk"} & set(everything)
    assert set(everything) == set(install.SIZES_MB)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, code",
    [
        (
            "segment",
            (
                "from MedLLMSegLib import segment; import MedLLMSegLib.worker.server,"
                " MedLLMSegLib.worker.tasks"
            ),
        ),
        (
            "train",
            (
                "import MedLLMSegLib.training.segmenter.segmenter_session,"
                " MedLLMSegLib.training.curves; from MedLLMSegLib.training.devices import"
                " make_fabric; make_fabric('cpu', 'fp32')"
            ),
        ),
    ],
)
def test_the_worker_imports_only_what_slicer_has_or_is_asked_for(task, code):
    """Everything else that pyproject.toml, or a developer's machine, may have is made to be
    missing.
    """
    absent = {
        "gguf",
        "tqdm",
        "matplotlib",
        "skimage",
        "nilearn",
        "nibabel",
        "transformers",
        "pandas",
        "sklearn",
        "h5py",
        "monai",
        "tensorboard",
        "lightning",
        "lightning_fabric",
        "fire",
        "ignite",
    }
    if task == "train":
        absent -= {"matplotlib", "lightning_fabric", "monai"}
    code = f"import sys\nsys.modules.update(dict.fromkeys({sorted(absent)!r}))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_installed_packages_can_all_be_held(tmp_path):
    """This very environment as pip would read it."""
    from packaging.requirements import Requirement

    held = (
        install._write_constraints(tmp_path, ["torch", "lightning-fabric"]).read_text().splitlines()
    )
    names = {re.sub(r"[-_.]+", "-", Requirement(line).name).lower() for line in held}
    assert "numpy" in names
    assert len(held) > 20
    assert not {"torch", "lightning-fabric"} & names
    importlib.invalidate_caches()


def test_of_two_versions_in_sight_the_one_that_python_imports_is_held(monkeypatch, tmp_path):
    found = [
        types.SimpleNamespace(metadata={"Name": name}, version=number)
        for name, number in (("NumPy", "2.0.2"), ("six", "1.17"), ("numpy", "1.26.4"))
    ]
    monkeypatch.setattr(install, "distributions", lambda: found)
    assert install._write_constraints(tmp_path, []).read_text(encoding="utf-8").splitlines() == [
        "NumPy==2.0.2",
        "six==1.17",
    ]


def test_two_installations_at_a_time_are_refused(monkeypatch):
    World(monkeypatch, SLICERS)
    packaging = sys.modules["slicer.packaging"]
    monkeypatch.setattr(packaging, "isPipInstallInProgress", lambda: True, raising=False)
    with pytest.raises(UserError, match="Another module is installing"):
        install.begin_torch()
