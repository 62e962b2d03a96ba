"""The Python packages that segmenting and training need inside Slicer.

They are installed when they are needed and the user agrees, never at start-up.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

from MedLLMSegLib.core.errors import UserError

from .pytorch import Installation, pip_environment, torch_commands

TORCH = ">=2.8"  # what pyproject.toml asks for
FOLDER = Path(__file__).parent
# To segment: everything but torch and what Slicer itself brings; and what training needs besides.
REQUIREMENTS = FOLDER / "requirements.txt"
TRAINING = FOLDER / "requirements-train.txt"
# MB to download with dependencies: the wheels for Linux and Python 3.11, as of November 2026.
SIZES_MB = {
    "monai": 2,
    "safetensors": 1,
    "einops": 0.1,
    "python-gdcm": 13,
    "pylibjpeg": 0.1,
    "pyjpegls": 3,
    "pylibjpeg-openjpeg": 2,
    "lightning-fabric": 0.6,
    "matplotlib": 24,
}
# Packages that come with PyTorch and not with Slicer. If they are left from an earlier PyTorch, pip
# may have to replace them.
TORCH_COMPANIONS = (
    "torch",
    "torchvision",
    "torchaudio",
    "sympy",
    "mpmath",
    "networkx",
    "fsspec",
    "filelock",
    "jinja2",
    "markupsafe",
    "triton",
    "nvidia-*",
    "cuda-*",
)
TORCH_SIZE = "0.2 GB to download for the processor alone, several GB for an NVIDIA GPU"


@dataclass(frozen=True)
class MissingPackage:
    """A package that is missing or too old. installed: its version, None if it is missing."""

    name: str
    specifier: str
    installed: str | None = None

    def __str__(self) -> str:
        if self.name == "torch":
            return f"PyTorch ({TORCH_SIZE}; installed by Slicer's PyTorch extension)"
        size_mb = SIZES_MB.get(self.name)
        if size_mb is None:
            return self.name
        return f"{self.name} ({'below 1' if size_mb < 1 else f'{size_mb:g}'} MB)"


def missing_packages(task: str = "segment") -> list[str]:
    """The packages to install for a task, "segment" or "train", each with its size, as text.

    Nothing is imported or changed: only the metadata of installed packages is read.
    """
    return [str(package) for package in _missing(task)]


def ensure_packages(requester: str = "MedLLMSeg", task: str = "segment", ask: bool = False) -> None:
    """Install the missing packages of a task, once the user has read and agreed to them.

    ask: have Slicer ask for consent, if nobody has yet.

    PyTorch comes through the PyTorch extension, which knows the build for this machine. The rest
    comes through Slicer's own `pip_ensure`, with every installed package held at its version.
    Raises `UserError`, with what the user can do, if the user declines or an installation fails.
    """
    missing = _missing(task)
    if not missing:
        return
    if _testing():
        names = ", ".join(package.name for package in missing)
        raise UserError(
            f"The Python packages {names} are missing, and nothing is installed while Slicer tests"
            " itself; start Slicer without --testing and press the button again."
        )
    for package in missing:
        if package.name == "torch":
            _ensure_torch(requester, package.installed, ask)
    _ensure_others(requester, task, ask)
    importlib.invalidate_caches()
    left = _missing(task)
    if left:
        names = ", ".join(package.name for package in left)
        raise UserError(
            f"{names} could not be installed; restart Slicer and"
            " press the button again, or install it in Slicer's Python console with"
            " slicer.util.pip_install."
        )


def torch_is_missing() -> bool:
    """Whether PyTorch is missing or too old."""
    importlib.invalidate_caches()
    return any(package.name == "torch" for package in _missing("segment"))


def begin_torch() -> Installation | None:
    """Begin to install PyTorch in the background, by the PyTorch extension's installer.

    None if PyTorch cannot be installed this way. Call `ensure_packages` when the installation has
    ended: it reports what is wrong, and installs what is left.
    """
    if not torch_is_missing() or _version("torch") is not None or _testing():
        return None
    if _slicer_installs():
        raise UserError(
            "Another module is installing Python packages; wait until it has finished, and press"
            " the button again."
        )
    commands = torch_commands(TORCH)
    if commands is None:
        return None
    from MedLLMSegLib.slicer_bridge.logic.services import python

    folder = TemporaryDirectory(prefix="MedLLMSeg-")
    constraints = _write_constraints(Path(folder.name), TORCH_COMPANIONS)
    return Installation(
        [[python(), *command] for command in commands], pip_environment(constraints), folder
    )


def _missing(task: str) -> list[MissingPackage]:
    files = (REQUIREMENTS, TRAINING) if task == "train" else (REQUIREMENTS,)
    lines = [
        line.split("#")[0].strip()
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    required = [_parse(line) for line in (f"torch{TORCH}", *lines) if line]
    checked = [MissingPackage(name, specifier, _version(name)) for name, specifier in required]
    return [
        package
        for package in checked
        if package.installed is None or not _fits(package.installed, package.specifier)
    ]


def _parse(requirement: str) -> tuple[str, str]:
    """("einops", ">=0.8") of "einops>=0.8"."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return name, requirement[len(name) :].strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(installed: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(installed, prereleases=True)


def _slicer_installs() -> bool:
    """Whether Slicer already runs pip for another module; two at a time could break its Python."""
    try:
        from slicer.packaging import isPipInstallInProgress
    except ImportError:
        return False
    return bool(isPipInstallInProgress())


def _testing() -> bool:
    import slicer

    application = getattr(slicer, "app", None)
    return application is not None and bool(application.testingEnabled())


def _ensure_torch(requester: str, installed: str | None, ask: bool) -> None:
    if installed is not None:
        raise UserError(
            f"PyTorch {installed} is installed, and {requester} needs {TORCH.lstrip('>=')} or"
            " later; uninstall it in the PyTorch Utils module, restart Slicer and press the button"
            " again."
        )
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise UserError(
            f"{requester} needs the PyTorch extension; install it with the Extensions Manager, "
            "restart Slicer and press the button again."
        ) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=ask, torchVersionRequirement=TORCH
        )
    except Exception as error:  # whatever light-the-torch, pip or the network ran into
        raise UserError(
            "PyTorch could not be installed; check the network and the disk, or install it in the "
            "PyTorch Utils module, and press the button again."
        ) from error
    if torch is None:
        raise UserError(
            f"PyTorch was not installed, and {requester} cannot work without it; "
            "press the button again when it may be installed."
        )


def _ensure_others(requester: str, task: str, ask: bool) -> None:
    try:
        from slicer.packaging import load_requirements, pip_ensure
    except ImportError as error:
        raise UserError(f"{requester} needs Slicer 5.12 or later; this Slicer is older.") from error
    wanted = [
        *load_requirements(REQUIREMENTS),
        *(load_requirements(TRAINING) if task == "train" else []),
    ]
    try:
        with TemporaryDirectory() as folder:
            free = [package.name for package in _missing(task)]
            constraints = _write_constraints(Path(folder), free)
            pip_ensure(
                wanted, requester=requester, constraints=str(constraints), prompt_install=ask
            )
    except CalledProcessError as error:
        raise UserError(
            "The Python packages could not be installed, and Slicer's own are as they were; check"
            " the network and the disk and press the button again."
        ) from error
    except RuntimeError as error:  # how pip_ensure says that the user declined
        raise UserError(
            f"The Python packages were not installed, and {requester} cannot work without them; "
            "press the button again when they may be installed."
        ) from error


def _write_constraints(folder: Path, free: Iterable[str]) -> Path:
    """A constraints file for pip that holds all installed packages but ``free`` at their versions.

    free: names, or patterns such as "nvidia-*".
    """
    free = [_normalised(name) for name in free]
    lines: dict[str, str] = {}
    for distribution in distributions():
        name, number = distribution.metadata["Name"], distribution.version
        if not name or not number or not re.fullmatch(r"[\w.!+-]+", number):
            continue
        if any(fnmatch(_normalised(name), pattern) for pattern in free):
            continue
        # of two installed versions Python imports the first, and pip cannot hold both
        lines.setdefault(_normalised(name), f"{name}=={number}\n")
    path = folder / "constraints.txt"
    path.write_text("".join(sorted(lines.values())), encoding="utf-8")
    return path


def _normalised(name: str) -> str:
    """A package's name as pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
