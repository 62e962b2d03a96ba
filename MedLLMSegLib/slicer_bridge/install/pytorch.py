"""PyTorch by the installer of Slicer's PyTorch extension, in a process of its own.

The extension's `installTorch` waits for pip, which is silent while it downloads gigabytes: Slicer's
window would freeze for minutes. So we ask the extension for its pip arguments and run the installer
in the background. If the extension does not give them, `packages.ensure_packages` calls its
`installTorch`.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

INSTALLER = "light_the_torch"  # which chooses the build that fits this computer's GPU and driver
INSTALLER_PACKAGE = "light-the-torch>=0.5"  # as the extension asks for it
READER_SLICE_S = 0.02  # the reading thread gets the interpreter for so long at each poll
LOG_LINES = 60  # the last ones are kept for the log
STOP_S = 1.0  # from a polite request to a forced end


def torch_commands(requirement: str) -> list[list[str]] | None:
    """The arguments to Python that install torch, such as ["-m", "light_the_torch", "install",
    "torch>=2.8"]; before them, if needed, those that install the installer.

    None if the PyTorch extension is missing or does not give them. Its `installTorch` is tried
    then, and says what is wrong.
    """
    try:
        from PyTorchUtils import PyTorchUtilsLogic

        arguments = [
            str(argument)
            for argument in PyTorchUtilsLogic._getPipInstallArguments(None, requirement)
        ]
    except Exception:
        return None
    before = [] if find_spec(INSTALLER) else [["-m", "pip", "install", INSTALLER_PACKAGE]]
    return [*before, ["-m", INSTALLER, *arguments]]


def pip_environment(constraints: Path) -> dict[str, str]:
    """The environment for pip: no installed package changes, and pip reports the progress of
    downloads if it can.
    """
    variables = {
        **os.environ,
        "PIP_CONSTRAINT": constraints.as_uri(),
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    try:
        if tuple(map(int, version("pip").split(".")[:2])) >= (24, 1):
            variables["PIP_PROGRESS_BAR"] = "raw"
    except (PackageNotFoundError, ValueError):
        pass
    return variables


class Installation:
    """Programs that run one after the other, as long as each succeeds.

    text: what is being done. fraction: of the current download, None if not known.
    placing: PyTorch's files are being put into place, which must not be interrupted.
    stopped: `stop` was called.
    folder: a TemporaryDirectory that the programs need.

    Raises OSError if the first program cannot be started.
    """

    def __init__(self, commands: list[list[str]], environment: dict[str, str], folder=None):
        self.text = ""
        self.fraction: float | None = None
        self.placing, self._folder = False, folder
        self.stopped, self._stopped_at = False, 0.0
        self._environment, self._remaining = environment, commands[1:]
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=LOG_LINES)
        self._process = self._start(commands[0])
        self._reader = threading.Thread(
            target=self._read, name="MedLLMSeg installation", daemon=True
        )
        self._reader.start()

    @property
    def worked(self) -> bool:
        """Whether all programs succeeded; False while they run."""
        return self._process.returncode == 0 and not self._remaining

    @property
    def log(self) -> str:
        """The last lines of output."""
        return "\n".join(self._last)

    def poll(self) -> bool:
        """Read new output; returns whether all programs have ended."""
        self._reader.join(READER_SLICE_S)
        ended = not self._reader.is_alive()
        while not self._lines.empty():
            self._read_line(*self._lines.get())
        if self.stopped and not ended and time.monotonic() - self._stopped_at > STOP_S:
            self._signal("SIGKILL")
        return ended

    def stop(self) -> None:
        """Ask the program to end; `poll` kills it if it has not ended after `STOP_S` seconds."""
        if not self.stopped:
            self.stopped, self._stopped_at = True, time.monotonic()
            self._signal("SIGINT")  # on which pip cleans up

    def close(self) -> None:
        """End the program, and wait until it has ended."""
        self.stop()
        self._reader.join(STOP_S)
        self._signal("SIGKILL")
        self._reader.join(STOP_S)

    def _signal(self, name: str) -> None:
        """Send a signal to the whole process group: PythonSlicer only starts the real Python."""
        if not self._reader.is_alive():  # the processes have closed their output
            return
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                capture_output=True,
                check=False,  # they may have ended meanwhile
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, getattr(signal, name))

    def _start(self, command: list[str]) -> subprocess.Popen:
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
            for line in self._process.stdout or ():
                self._lines.put((line.decode("utf-8", "replace").strip(), not self._remaining))
            if self._process.wait() != 0 or not self._remaining or self.stopped:
                return
            try:
                self._process = self._start(self._remaining[0])
            except OSError as error:
                self._lines.put((str(error), False))
                return
            del self._remaining[0]

    def _read_line(self, line: str, from_last_program: bool) -> None:
        """Update the progress from a line of pip's output.

        from_last_program: the line may be read when the next program already runs.
        """
        if progress := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            done, total = map(int, progress.groups())
            self.fraction = done / total if total else None
            return
        if not line:
            return
        self._last.append(line)
        if line.startswith(("Collecting ", "Downloading ", "Using cached ")):
            self.text = line.replace("https://", "").split("/")[-1]
            self.fraction = None
        elif line.startswith("Installing collected packages"):
            self.text, self.fraction, self.placing = "", None, from_last_program
