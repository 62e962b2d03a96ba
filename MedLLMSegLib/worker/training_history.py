"""The curve of a training that runs, read from its history.json."""

from __future__ import annotations

import json
from pathlib import Path

from MedLLMSegLib.core.types import Json, PathLike


class TrainingHistory:
    """Reads the rows of a run's history.json, each once.

    folder: the run's folder.
    """

    def __init__(self, folder: PathLike) -> None:
        self.path = Path(folder) / "history.json"
        self._changed_ns: int | None = None
        self._seen: set[tuple[int, bool]] = set()

    def new_rows(self) -> list[Json]:
        """Rows such as {"step", "loss", "lr", "seconds"} and {"step", "val_dice"} that no call
        returned before.
        """
        try:
            changed_ns = self.path.stat().st_mtime_ns
            if changed_ns == self._changed_ns:
                return []
            rows = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not written yet, or being written
            return []
        self._changed_ns = changed_ns
        new_rows = [row for row in rows if _key(row) not in self._seen]
        self._seen.update(_key(row) for row in new_rows)
        return new_rows


def _key(row: Json) -> tuple[int, bool]:
    return row["step"], "val_dice" in row
