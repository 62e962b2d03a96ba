"""The folder that `lidc` writes into, with a list of its cases: nothing else is ever removed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import check_writable, write_text

LIST = "lidc-cases.json"  # the cases that were begun
IMAGES, LABELS = "imagesTr", "labelsTr"


@dataclass(eq=False)
class LidcOutput:
    """Where cases are written. cases: those of this conversion so far."""

    folder: Path
    cases: list[str] = field(default_factory=list)

    def image(self, case: str) -> Path:
        return self.folder / IMAGES / f"{case}.nii.gz"

    def label(self, case: str) -> Path:
        return self.folder / LABELS / f"{case}.nii.gz"

    def check(self, overwrite: bool) -> None:
        """Raise `UserError` where files would be mixed with the new cases; nothing is changed."""
        check_writable(self.folder)
        ours = {path for case in self._earlier() for path in (self.image(case), self.label(case))}
        there = {
            path
            for part in (self.folder / IMAGES, self.folder / LABELS)
            if part.is_dir()
            for path in part.iterdir()
        }
        if there and not overwrite:
            raise UserError(
                f'"{self.folder}" holds cases already; choose another folder, or add --overwrite to'
                " replace those that this command wrote."
            )
        if others := sorted(there - ours):
            raise UserError(
                f'"{others[0]}" was not written by this command, which therefore does not remove'
                " it; choose another folder, or move it."
            )

    def _clear(self) -> None:
        """Remove what an earlier conversion wrote."""
        earlier = self._earlier()
        for case in earlier:
            self.image(case).unlink(missing_ok=True)
            self.label(case).unlink(missing_ok=True)
        if earlier:
            (self.folder / "dataset.json").unlink(missing_ok=True)
            (self.folder / "splits.json").unlink(missing_ok=True)

    def begin(self, case: str) -> None:
        """Note a case before it is written, so that one cut short is known as well. The first takes
        the place of an earlier conversion.
        """
        if not self.cases:
            self._clear()
        self.cases.append(case)
        write_text(self.folder / LIST, json.dumps(self.cases, indent=1) + "\n")

    def _earlier(self) -> list[str]:
        """The cases of an earlier conversion; none where their list is missing or damaged."""
        try:
            names = json.loads((self.folder / LIST).read_text(encoding="utf-8"))
            return [name for name in names if Path(name).name == name]
        except (OSError, ValueError, TypeError):
            return []
