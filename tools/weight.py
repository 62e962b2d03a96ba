"""What the repository weighs with its history, against what it may weigh.

    python tools/weight.py

3D Slicer's Extensions Index allows 100 MB with history. Our own ledger is stricter: version 0.3
weighed 57 MiB, and at most 30 MB more may come until version 1.0. Exit code 1 if it is over.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MB, MIB = 1_000_000, 2**20
INDEX_LIMIT = 100 * MB
WEIGHT_AT_0_3 = 57 * MIB
LEDGER_LIMIT = WEIGHT_AT_0_3 + 30 * MB
LARGEST = 12


class Blob(NamedTuple):
    """One version of one file, as git has packed it."""

    packed_bytes: int
    path: str


def git(*arguments: str, folder: Path | None = None, text: str | None = None) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder or ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def blobs(folder: Path) -> list[Blob]:
    """Every file version that HEAD's history holds, largest first."""
    lines = git("rev-list", "--objects", "HEAD", folder=folder).splitlines()
    paths = {name: path for name, _, path in (line.partition(" ") for line in lines)}
    sizes = git(
        "cat-file",
        "--batch-check=%(objecttype) %(objectname) %(objectsize:disk)",
        folder=folder,
        text="\n".join(paths),
    )
    found = []
    for line in sizes.splitlines():
        kind, name, size = line.split()
        if kind == "blob":
            found.append(Blob(int(size), paths[name]))
    return sorted(found, reverse=True)


def room(path: str) -> str:
    """The folder a file is counted under: two levels deep, three for the shipped models."""
    parts = path.split("/")[:-1]
    return "/".join(parts[: 3 if parts[1:2] == ["bundles"] else 2]) or "(top)"


def packed_clone(folder: Path) -> int:
    """Clone HEAD's history into `folder`, as a user's `git clone` would; the pack's size in bytes.

    Our own .git may hold objects twice, or some that no clone ever brings.
    """
    git(
        "clone", "--quiet", "--bare", "--no-local", "--single-branch", f"file://{ROOT}", str(folder)
    )
    return sum(pack.stat().st_size for pack in (folder / "objects/pack").glob("*.pack"))


def report(weight: int, files: list[Blob]) -> str:
    tracked = set(git("ls-files").splitlines())
    folders: Counter[str] = Counter()
    for blob in files:
        folders[room(blob.path)] += blob.packed_bytes
    lines = [
        f"The history as a clone brings it: {weight / MB:.1f} MB ({weight / MIB:.1f} MiB)",
        f"  of the Extensions Index's {INDEX_LIMIT / MB:.0f} MB: {weight / INDEX_LIMIT:.0%}",
        f"  since 0.3 ({WEIGHT_AT_0_3 / MIB:.0f} MiB): {(weight - WEIGHT_AT_0_3) / MB:+.1f} MB"
        f" of the ledger's {(LEDGER_LIMIT - WEIGHT_AT_0_3) / MB:.0f} MB until 1.0",
        "",
        "Largest blobs (packed MB):",
    ]
    for blob in files[:LARGEST]:
        gone = "" if blob.path in tracked else "  (path is no longer tracked)"
        lines.append(f"  {blob.packed_bytes / MB:6.2f}  {blob.path}{gone}")
    lines += ["", "Folders, all versions together (packed MB):"]
    lines += [f"  {size / MB:6.2f}  {folder}" for folder, size in folders.most_common(LARGEST)]
    return "\n".join(lines)


def main() -> int:
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        print("This clone is shallow: its history cannot be weighed. Run git fetch --unshallow.")
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone.git"
        weight = packed_clone(clone)
        print(report(weight, blobs(clone)))
    for limit, whose in ((LEDGER_LIMIT, "our own ledger"), (INDEX_LIMIT, "the Extensions Index")):
        if weight > limit:
            print(f"\nToo heavy: {whose} allows {limit / MB:.1f} MB.")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
