"""The Python packages that segmenting and training need inside Slicer: asked for when they are
needed, never at start-up.
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
REQUIREMENTS = (
    FOLDER / "requirements.txt"
)  # to segment: all but torch, and nothing that Slicer brings itself
TRAINING = FOLDER / "requirements-train.txt"  # and what training needs besides
# MB to download, the packages they bring included: the wheels for Linux and Python 3.11, as of
# November 2026.
SIZES_MB = {"monai": 2, "safetensors": 1, "einops": 0.1, "lightning-fabric": 0.6, "matplotlib": 24}
# What comes with PyTorch and is no part of Slicer: left from an earlier PyTorch, it may have to be
# exchanged with it.
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
    """A package that is not there, or too old. found: its version, None where it is not there."""

    name: str
    specifier: str
    found: str | None = None

    def __str__(self) -> str:
        if self.name == "torch":
            return f"PyTorch ({TORCH_SIZE}; installed by Slicer's PyTorch extension)"
        size = SIZES_MB.get(self.name)
        return (
            self.name
            if size is None
            else f"{self.name} ({'below 1' if size < 1 else f'{size:g}'} MB)"
        )


def missing_packages(task: str = "segment") -> list[str]:
    """What would have to be installed for a task, "segment" or "train", each with its size, to be
    shown before asking.

    Nothing is imported or changed: only the metadata of installed packages is read.
    """
    return [str(each) for each in _missing(task)]


def ensure_packages(requester: str = "MedLLMSeg", task: str = "segment", ask: bool = False) -> None:
    """Install what a task needs and is missing. To be called when the user has read
    `missing_packages` and agreed.

    ask: have Slicer ask, for those who have not. PyTorch comes through the PyTorch extension, which
    knows the build for this machine; the rest through Slicer's own `pip_ensure`, with every package
    that is there already held at its version. Raises `UserError`, with what the user can do, if the
    user declines or an installation fails.
    """
    missing = _missing(task)
    if not missing:
        return
    if _testing():
        names = ", ".join(each.name for each in missing)
        raise UserError(
            f"The Python packages {names} are missing, and nothing is installed while Slicer tests"
            " itself; start Slicer without --testing and press the button again."
        )
    for each in missing:
        if each.name == "torch":
            _ensure_torch(requester, each.found, ask)
    _ensure_others(requester, task, ask)
    importlib.invalidate_caches()
    left = _missing(task)
    if left:
        raise UserError(
            f"{', '.join(each.name for each in left)} could not be installed; restart Slicer and"
            " press the button again, or install it in Slicer's Python console with"
            " slicer.util.pip_install."
        )


def torch_is_missing() -> bool:
    """Whether PyTorch is not there, or too old."""
    importlib.invalidate_caches()
    return any(each.name == "torch" for each in _missing("segment"))


def begin_torch() -> Installation | None:
    """Begin to install PyTorch beside Slicer's window, by the PyTorch extension's own installer;
    None if there is nothing to install so. `ensure_packages` is to be called when it has ended: it
    says what is wrong, and installs what is left.
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
    held = _hold(Path(folder.name), TORCH_COMPANIONS)
    return Installation(
        [[python(), *command] for command in commands], pip_environment(held), folder
    )


def _missing(task: str) -> list[MissingPackage]:
    files = (REQUIREMENTS, TRAINING) if task == "train" else (REQUIREMENTS,)
    lines = [
        line.split("#")[0].strip()
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    wanted = [
        re.fullmatch(r"([\w.-]+)\s*(.*)", line).groups()
        for line in [f"torch{TORCH}", *lines]
        if line
    ]
    checked = [MissingPackage(name, specifier, _version(name)) for name, specifier in wanted]
    return [each for each in checked if each.found is None or not _fits(each.found, each.specifier)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(found: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(found, prereleases=True)


def _slicer_installs() -> bool:
    """Whether Slicer's own pip runs beside the window for another module: two at a time could
    spoil its Python.
    """
    try:
        from slicer.packaging import isPipInstallInProgress
    except ImportError:
        return False
    return bool(isPipInstallInProgress())


def _testing() -> bool:
    import slicer

    application = getattr(slicer, "app", None)
    return application is not None and bool(application.testingEnabled())


def _ensure_torch(requester: str, found: str | None, ask: bool) -> None:
    if found is not None:
        raise UserError(
            f"PyTorch {found} is installed, and {requester} needs {TORCH.lstrip('>=')} or later; "
            "uninstall it in the PyTorch Utils module, restart Slicer and press the button again."
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
            held = _hold(Path(folder), [each.name for each in _missing(task)])
            pip_ensure(wanted, requester=requester, constraints=str(held), prompt_install=ask)
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


def _hold(folder: Path, free: Iterable[str]) -> Path:
    """A constraints file for pip that holds all installed packages but ``free`` at their versions:
    none is exchanged.

    free: names, or patterns such as "nvidia-*".
    """
    plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
    spared, held = [plain(name) for name in free], {}
    for found in distributions():
        name, number = found.metadata["Name"], found.version
        if (
            name
            and number
            and re.fullmatch(r"[\w.!+-]+", number)
            and not any(fnmatch(plain(name), each) for each in spared)
        ):
            held.setdefault(
                plain(name), f"{name}=={number}\n"
            )  # Python imports the first of two; pip could not hold both
    path = folder / "constraints.txt"
    path.write_text("".join(sorted(held.values())), encoding="utf-8")
    return path
