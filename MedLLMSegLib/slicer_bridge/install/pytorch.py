"""PyTorch by the installer of Slicer's PyTorch extension, in a process of its own, so that Slicer's
window goes on.

The extension's `installTorch` waits for pip, and pip is silent while it downloads gigabytes: the
window would stand still for minutes. So the extension is asked what it would run, and that is run
beside the window; where it does not say, its own `installTorch` follows
(`install.ensure_packages`).
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

INSTALLER = "light_the_torch"  # which chooses the build that fits this computer's GPU and driver
INSTALLER_PACKAGE = "light-the-torch>=0.5"  # as the extension asks for it
THREAD_SLICE_S = 0.02  # the reading thread gets the interpreter for so long at each poll
KEPT = 60  # of the last lines, for the log
STOP_S = 1.0


def torch_commands(requirement: str) -> list[list[str]] | None:
    """What the PyTorch extension gives to Python to install torch, such as ["-m",
    "light_the_torch", "install", "torch>=2.8"].

    Before it, if need be, the installer itself. None where it cannot be told: the extension is
    missing, or another one than we know; its `installTorch` is tried then, and says what is wrong.
    """
    try:
        from PyTorchUtils import PyTorchUtilsLogic

        arguments = [
            str(each) for each in PyTorchUtilsLogic._getPipInstallArguments(None, requirement)
        ]
    except Exception:
        return None
    before = [] if find_spec(INSTALLER) else [["-m", "pip", "install", INSTALLER_PACKAGE]]
    return [*before, ["-m", INSTALLER, *arguments]]


def pip_environment(constraints: Path) -> dict[str, str]:
    """The environment for pip: nothing but what is missing is changed, and it says how far a
    download is where it can.
    """
    known = {
        **os.environ,
        "PIP_CONSTRAINT": constraints.as_uri(),
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    try:
        if tuple(map(int, version("pip").split(".")[:2])) >= (24, 1):
            known["PIP_PROGRESS_BAR"] = "raw"
    except (PackageNotFoundError, ValueError):
        pass
    return known


class Installation:
    """Programs that run one after the other, as long as each works. text: what is done; fraction:
    of the file that is being downloaded, None if not known.

    placing: PyTorch's files are being put into their places, which is not to be disturbed. stopped:
    `stop` was called. folder: a TemporaryDirectory that they need. Raises OSError if the first
    cannot be started.
    """

    def __init__(self, commands: list[list[str]], environment: dict[str, str], folder=None):
        self.text, self.fraction, self.placing, self._folder = "", None, False, folder
        self.stopped, self._stopped_at = False, 0.0
        self._environment, self._left = environment, commands[1:]
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=KEPT)
        self._process = self._started(commands[0])
        self._reader = threading.Thread(
            target=self._read, name="MedLLMSeg installation", daemon=True
        )
        self._reader.start()

    @property
    def worked(self) -> bool:
        """Whether all ended well; False while they run."""
        return self._process.returncode == 0 and not self._left

    @property
    def log(self) -> str:
        """The last that it said."""
        return "\n".join(self._last)

    def poll(self) -> bool:
        """Take account of what it has said; whether it has ended."""
        self._reader.join(THREAD_SLICE_S)
        ended = not self._reader.is_alive()
        while not self._lines.empty():
            self._take(*self._lines.get())
        if self.stopped and not ended and time.monotonic() - self._stopped_at > STOP_S:
            self._signal("SIGKILL")
        return ended

    def stop(self) -> None:
        """Ask it to end; `poll` says when it has, and ends it by force after `STOP_S` seconds."""
        if not self.stopped:
            self.stopped, self._stopped_at = True, time.monotonic()
            self._signal("SIGINT")  # pip tidies up

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self.stop()
        self._reader.join(STOP_S)
        self._signal("SIGKILL")
        self._reader.join(STOP_S)

    def _signal(self, name: str) -> None:
        """To the whole group of processes, as PythonSlicer starts the real Python and waits for
        it.
        """
        if not self._reader.is_alive():  # nobody holds the pipe any more
            return
        if os.name == "nt":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                capture_output=True,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
            return
        try:
            os.killpg(self._process.pid, getattr(signal, name))
        except ProcessLookupError:
            pass

    def _started(self, command: list[str]) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def _read(self) -> None:
        while True:
            for line in self._process.stdout:
                self._lines.put((line.decode("utf-8", "replace").strip(), not self._left))
            if self._process.wait() != 0 or not self._left or self.stopped:
                return
            try:
                self._process = self._started(self._left[0])
            except OSError as error:
                self._lines.put((str(error), False))
                return
            del self._left[0]

    def _take(self, line: str, last: bool) -> None:
        """last: whether the last program says so; it may be looked at when the next one runs
        already.
        """
        if found := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            done, whole = map(int, found.groups())
            self.fraction = done / whole if whole else None
        elif line:
            self._last.append(line)
            if line.startswith(("Collecting ", "Downloading ", "Using cached ")):
                self.text, self.fraction = (
                    line.replace("https://", "").split("/")[-1] if "/" in line else line,
                    None,
                )
            elif line.startswith("Installing collected packages"):
                self.text, self.fraction, self.placing = "", None, last
