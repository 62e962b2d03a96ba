"""What the subcommands share: paths as typed, and a progress bar."""

from __future__ import annotations

from pathlib import Path


def typed_path(text: str) -> Path:
    """A path as typed, with ~ for the home folder (which no shell expands in --output=~/x)."""
    return Path(text).expanduser()


class Bar:
    """A progress bar over scans with the time left; silent where the output is no terminal."""

    def __init__(self, scans):
        self.scans = scans

    def __enter__(self):
        from tqdm import tqdm

        self.bar = tqdm(
            total=len(self.scans),
            disable=None,
            unit="scan",
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        )
        return self

    def __exit__(self, *exception):
        self.bar.close()

    def update(self, scan: int, stage: str, fraction: float) -> None:
        self.bar.set_description_str(
            f"[{scan + 1}/{len(self.scans)}] {self.scans[scan].name}: {stage}", refresh=False
        )
        self.bar.update(scan + fraction - self.bar.n)
