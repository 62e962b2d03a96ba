"""The Python packages that segmenting needs inside Slicer: asked for when they are needed, never at start-up."""
from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

from ..errors import UserError

TORCH = ">=2.8"  # what pyproject.toml asks for
KEPT = ("torch", "numpy", "scipy", "SimpleITK")  # pip must not exchange these: another build would break Slicer or CUDA
REQUIREMENTS = Path(__file__).with_name("requirements.txt")  # all but torch, and nothing that Slicer brings itself


def ensure_packages(requester: str = "MedLLMSeg") -> None:
    """Install what is missing, each time with the user's consent.

    PyTorch comes through the PyTorch extension, which knows the build for this machine; the rest through
    Slicer's own `pip_ensure`, held to the versions of PyTorch and of Slicer's packages that are there. Raises `UserError` if the user declines or an
    installation fails.
    """
    _ensure_torch(requester)
    _ensure_others(requester)


def _ensure_torch(requester: str) -> None:
    from packaging.specifiers import SpecifierSet

    try:
        found = version("torch")
    except PackageNotFoundError:
        found = None
    if found is None:
        _install_torch(requester)
    elif not SpecifierSet(TORCH).contains(found, prereleases=True):
        raise UserError(f"PyTorch {found} is installed, and {requester} needs {TORCH.lstrip('>=')} or later; "
                        "uninstall it in the PyTorch Utils module, restart Slicer and press the button again.")


def _install_torch(requester: str) -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise UserError(f"{requester} needs the PyTorch extension; install it with the Extensions Manager, "
                        "restart Slicer and press the button again.") from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=TORCH)
    except Exception as error:  # whatever light-the-torch, pip or the network ran into
        raise UserError("PyTorch could not be installed; check the network and the disk, or install it in the "
                        "PyTorch Utils module, and press the button again.") from error
    if torch is None:
        raise UserError(f"PyTorch was not installed, and {requester} cannot segment without it; "
                        "press the button again when it may be installed.")


def _constraints(folder: Path) -> Path:
    """A pip constraints file that holds PyTorch and Slicer's own packages at the versions that are there."""
    lines = []
    for name in KEPT:
        try:
            lines.append(f"{name}=={version(name)}\n")
        except PackageNotFoundError:
            continue
    path = folder / "constraints.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _ensure_others(requester: str) -> None:
    try:
        from slicer.packaging import load_requirements, pip_ensure
    except ModuleNotFoundError as error:
        raise UserError(f"{requester} needs Slicer 5.12 or later; this Slicer is older.") from error
    try:
        with TemporaryDirectory() as folder:
            pip_ensure(load_requirements(REQUIREMENTS), requester=requester, constraints=str(_constraints(Path(folder))))
    except CalledProcessError as error:
        raise UserError("The Python packages could not be installed; check the network and the disk "
                        "and press the button again.") from error
    except RuntimeError as error:  # how pip_ensure says that the user declined
        raise UserError(f"The Python packages were not installed, and {requester} cannot segment without them; "
                        "press the button again when they may be installed.") from error
