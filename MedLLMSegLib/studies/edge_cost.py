"""What one scan costs with an exported model: processor time and memory of the whole command.

    python -m MedLLMSegLib.studies.edge_cost head.nii.gz --model brain-onnx/

The command runs in a process of one thread. Memory is the resident size of it and of the processes
that it starts, looked at fifty times a second. Linux alone.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError

LOOKS_APART_S = 0.02


@dataclass(frozen=True)
class Cost:
    """user_s, system_s: processor time. peak_mb: of 10^6 bytes."""

    user_s: float
    system_s: float
    peak_mb: float

    def __str__(self) -> str:
        total = self.user_s + self.system_s
        return (
            f"{total:.1f} s of processor time ({self.user_s:.1f} and {self.system_s:.1f} in the"
            f" system), peak memory {self.peak_mb:.0f} MB"
        )


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end. Raises `UserError` where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        while child.poll() is None:
            peak = max(peak, sum(map(_resident_bytes, _tree(child.pid))))
            time.sleep(LOOKS_APART_S)
        if child.returncode:
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise UserError(f"The command failed: {said[-1]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, peak / 1e6)


def _tree(pid: int) -> list[int]:
    """A process and all that it has started; what ends meanwhile is left out."""
    found = [pid]
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return found
    for children in lists:
        for child in children.split():
            found += _tree(int(child))
    return found


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="an exported folder")
    options = parser.parse_args(None if arguments is None else list(arguments))
    with tempfile.TemporaryDirectory(prefix="medllmseg-edge-") as folder:
        command = [sys.executable, "-m", "MedLLMSegLib", "segment", str(options.scan)]
        command += ["--model", str(options.model), "--output", f"{folder}/labels.nii.gz"]
        try:
            print(cost_of(command))
        except UserError as error:
            print(f"edge_cost: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
