"""How much faster a batch is with several processes: whole command lines, in wall time.

    python -m MedLLMSegLib.studies.speed.many_scans --scans 60 --workers 2

The scans are the template of a head (nilearn's) on a coarser grid, each with noise of its own. The
same command segments them with one process of one thread, with one process of as many threads as
there are workers, and with so many workers. Times contain the start of Python and of the workers.
It means something on a computer that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import aligned_grid
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from . import product
from .row import NotMeasured
from .rows_chain import template

NOISE = 0.03  # standard deviation, of the template's brightest voxel
TABLE = "volumes.csv"


@dataclass(frozen=True)
class Way:
    """One way to segment the batch. threads: of the process, or of all workers together."""

    name: str
    threads: int
    options: tuple[str, ...] = ()


def ways(workers: int) -> list[Way]:
    """One process of one thread first: what the others are compared with."""
    return [
        Way("one process, 1 thread", 1),
        Way(f"one process, {workers} threads", workers),
        Way(f"{workers} workers, 1 thread each", workers, ("--workers", str(workers))),
    ]


def write_scans(folder: Path, count: int, spacing_mm: float) -> None:
    """Heads of int16 on cubes of ``spacing_mm``. Raises `UserError` without nilearn."""
    try:
        head = load_volume(template())
    except NotMeasured as error:
        raise UserError(f"The scans cannot be made: {error}.") from error
    grid = aligned_grid(head.grid, (spacing_mm,) * 3)
    values = np.asarray(product.resample(head.array, head.grid, grid), np.float32)
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, NOISE * values.max(), values.shape)
        array = np.round(values + noise).clip(0).astype(np.int16)
        scan = Volume(array, grid.ijk_to_ras, f"head{number}")
        save_volume(scan, folder / f"head{number:03d}.nii.gz")


def measure(folder: Path, way: Way, model: str) -> tuple[float, str]:
    """Wall time in seconds, and the table. Raises `UserError` where the command fails."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        command = [sys.executable, "-m", "MedLLMSegLib", "segment", str(folder / "scans")]
        command += ["--model", model, "--device", "cpu", "--output", output, *way.options]
        threads = str(way.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        seconds = time.monotonic() - began
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"The batch could not be measured: {reason}")
        return seconds, (Path(output) / TABLE).read_text(encoding="utf-8")


def table(seconds: Sequence[tuple[Way, Sequence[float]]], scans: int) -> str:
    """The medians, as Markdown."""
    lines = [
        f"| {scans} scans | s, median | of the rounds | times as fast |",
        "|---|---|---|---|",
    ]
    base = statistics.median(seconds[0][1])
    for way, each in seconds:
        median = statistics.median(each)
        rounds = ", ".join(f"{s:.1f}" for s in each)
        lines.append(f"| {way.name} | {median:.1f} | {rounds} | {base / median:.2f} |")
    return "\n".join(lines)


def differences(first: str, other: str) -> str:
    """How two tables differ, in a sentence; "" where they do not.

    With more threads sums are taken in another order, and the last digits may differ.
    """
    names, *rows = csv.reader(io.StringIO(first))
    other_names, *other_rows = csv.reader(io.StringIO(other))
    if names != other_names or len(rows) != len(other_rows):
        return "They do not have the same rows and columns."
    pairs = [
        (name, one, two)
        for row, other_row in zip(rows, other_rows, strict=True)
        for name, one, two in zip(names, row, other_row, strict=True)
        if one != two
    ]
    if not pairs:
        return ""
    words = sorted({name for name, one, two in pairs if math.isnan(_gap(one, two))})
    gaps = [(gap, name) for name, *values in pairs if (gap := _gap(*values)) >= 0]
    most = f"by {max(gaps)[0]:.2g} at most ({max(gaps)[1]})" if gaps else "in words alone"
    in_words = f"; words differ in {', '.join(words)}" if words and gaps else ""
    return f"{len(pairs)} of {len(rows) * len(names)} cells differ, {most}{in_words}."


def _gap(one: str, two: str) -> float:
    """How far two cells lie apart; NaN of words."""
    try:
        return abs(float(one) - float(two))
    except ValueError:
        return math.nan


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spacing", type=float, default=2.0, help="of the scans' voxels, in mm")
    parser.add_argument("--model", default=DEFAULT_SEGMENTER)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medllmseg-many-") as name:
        folder = Path(name)
        write_scans(folder / "scans", args.scans, args.spacing)
        compared = ways(args.workers)
        seconds: dict[str, list[float]] = {way.name: [] for way in compared}
        tables: dict[str, str] = {}  # of each way, in its last round
        for _ in range(args.rounds):
            for way in compared:
                elapsed, volumes = measure(folder, way, args.model)
                seconds[way.name].append(elapsed)
                tables[way.name] = volumes
                print(f"{way.name}: {elapsed:.1f} s", file=sys.stderr, flush=True)
    print(table([(way, seconds[way.name]) for way in compared], args.scans))
    base, *others = compared
    for way in others:
        found = differences(tables[base.name], tables[way.name]) or "the same table."
        print(f"\n{way.name}, beside {base.name}: {found}")


if __name__ == "__main__":
    main()
