"""`medllmseg info`: what a bug report needs to say about this computer, as text to paste.

It names versions, devices and models, but no user, scan, patient or file: folders appear only as
the standard ones below the home folder, written as ``~``.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.memory import free_memory_gb, total_memory_gb
from MedLLMSegLib.core.places import cache_dir, user_models_dir
from MedLLMSegLib.core.processor import processor_name
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.llm.encoder_store import list_encoders
from MedLLMSegLib.llm.store import list_models as list_layers
from MedLLMSegLib.registry.catalogue import METADATA, ModelEntry, list_models, read_metadata
from MedLLMSegLib.registry.old_bundles import old_bundle_note
from MedLLMSegLib.registry.user_models import is_users_model, verify_model

from .common_options import LOG_NAME, Subparsers

if TYPE_CHECKING:
    import argparse

PACKAGES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "safetensors", "matplotlib")
# The folders of the standard places for caches; any other name may say whose computer this is.
STANDARD_FOLDERS = {".cache", "Library", "Caches", "AppData", "Local", "medllmseg"}
SHA_DIGITS = 12  # of a sha256: enough to tell one from another

Line = tuple[str, str]  # a label, and what there is


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "info",
        help="print what a bug report needs: versions, devices, models",
        description=(
            "Print versions, processor, memory, devices, models and language-model layers as text"
            " to paste into a bug report. It names no user, scan, patient or file."
        ),
    )
    parser.set_defaults(run=_info)


def _info(args: argparse.Namespace, command: str) -> None:
    print(system_info())


def system_info() -> str:
    """One line a fact, aligned. It works without torch, and says so."""
    lines = [
        ("medllmseg", __version__),
        ("Python", f"{platform.python_version()}, {8 * struct.calcsize('P')} bit"),
        *((name, _package_version(name)) for name in PACKAGES),
        ("system", platform.platform()),
        ("processor", _processor()),
        ("memory", _memory()),
        *_devices(),
        *_folders(),
        *_models(),
        *_layers(),
    ]
    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{text}" for label, text in lines)


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _import_torch() -> Any | None:
    """torch, or None where it is missing or does not load (an ImportError, or on Windows an OSError
    about a DLL).
    """
    try:
        import torch
    except (ImportError, OSError):
        return None
    return torch


def _processor() -> str:
    bf16 = {True: "bf16", False: "no bf16", None: "bf16 not known without torch"}
    return f"{processor_name()}, {os.cpu_count()} cores, {bf16[_has_bf16()]}"


def _has_bf16() -> bool | None:
    """Whether the processor multiplies bf16 itself; None where torch cannot be asked."""
    try:
        from MedLLMSegLib.segmentation.precision import cpu_has_bf16
    except (ImportError, OSError):
        return None
    return cpu_has_bf16()


def _memory() -> str:
    free_gb, total_gb = free_memory_gb(), total_memory_gb()
    if free_gb is None or total_gb is None:
        return "not known"
    return f"{free_gb:.1f} GB free of {total_gb:.1f} GB"


def _devices() -> list[Line]:
    """What torch can compute on besides the processor."""
    torch = _import_torch()
    if torch is None:
        return [("devices", "not known: torch is not installed or does not load")]
    devices = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            memory = f"{gpu.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
            devices.append((f"cuda:{number}", f"{gpu.name}, {memory}"))
    if torch.backends.mps.is_available():
        devices.append(("mps", "Apple GPU"))
    return devices or [("devices", "no GPU that torch can use")]


def _folders() -> list[Line]:
    folder = cache_dir()
    disk = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(disk).free / 1e9
    log = folder / LOG_NAME
    size = f"{log.stat().st_size / 1e3:.0f} kB" if log.is_file() else "not written yet"
    return [
        ("cache", f"{_without_names(folder)}, {free_gb:.1f} GB free on its disk"),
        ("log", f"{_without_names(folder)}/{LOG_NAME}, {size}"),
    ]


def _without_names(folder: Path) -> str:
    """A standard folder for caches with ~ for the home folder. A folder that the user chose is not
    named.
    """
    home = Path.home()
    if folder.is_relative_to(home):
        inside = folder.relative_to(home)
        if STANDARD_FOLDERS.issuperset(inside.parts):
            return f"~/{inside.as_posix()}"
    return "(a folder of the user's choice)"


def _models() -> list[Line]:
    entries = list_models(kind=None)
    lines = [("model", _model_text(entry)) for entry in entries]
    listed = sum(is_users_model(entry) for entry in entries)
    left_out = len(list(user_models_dir().glob(f"*/{METADATA}"))) - listed
    if left_out:
        lines.append(("model", f"{left_out} of the user's cannot be read or has a name taken"))
    return lines


def _model_text(entry: ModelEntry) -> str:
    number = read_metadata(entry.folder).get("version", "without a version")
    owner = "the user's" if is_users_model(entry) else "shipped"
    try:
        verify_model(entry)
        state = "files verified"
    except (UserError, OSError):  # the message would name the folder
        state = "FILES DAMAGED, install it again"
    if old_bundle_note(entry):
        state += ", configuration of 0.3"
    sha256 = f"sha256 {entry.sha256[:SHA_DIGITS]}"
    return ", ".join((f"{entry.id} {number}", entry.kind, entry.licence, owner, sha256, state))


def _layers() -> list[Line]:
    """The language-model layers, and the vision encoders, on this computer."""
    lines = [("layer", f"{row.id} layer {row.layer}, {row.location}") for row in list_layers()]
    return lines + [("encoder", f"{known.id}, cached") for known in list_encoders()]
