"""The folder of a batch: what is where in it, and the table over all its scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import remove_leftovers, write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.io.volume_files import RECORD_SUFFIX

from .outputs import OutputPaths, SegmentOptions, paths_in_folder, unique_names
from .records import is_unfinished, read_record
from .volumes_page import MARK, PAGE, volumes_page
from .volumes_table import FIRST_COLUMNS, TABLE, ScanResult, volumes_csv


@dataclass(frozen=True)
class ResultFolder:
    """A folder in which the results of all scans lie side by side.

    It is the same whatever program, and however many of them, segmented the scans.
    """

    folder: Path

    @property
    def table(self) -> Path:
        """The table over all scans."""
        return self.folder / TABLE

    def check(self) -> None:
        """Before the work: raise `UserError` where the table or page is somebody else's."""
        table = self.table
        if table.exists() and not table.read_text(encoding="utf-8", errors="replace").startswith(
            ",".join(FIRST_COLUMNS)
        ):
            raise UserError(
                f'"{table}" is not one of our tables; choose another folder or rename it.'
            )
        self._check_page()
        remove_leftovers(self.folder)

    def _check_page(self) -> None:
        page = self.folder / PAGE
        if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
            raise UserError(
                f'"{page}" is not one of our pages; choose another folder or rename it.'
            )

    def outputs(
        self, scans: Sequence[Path], options: SegmentOptions
    ) -> list[tuple[Path, OutputPaths]]:
        """Each scan with where its results go. Raises `UserError` for scans of one name."""
        names = unique_names(scans)
        return [
            (scan, paths_in_folder(name, self.folder, options))
            for scan, name in zip(scans, names, strict=True)
        ]

    def finish(
        self, outputs: Sequence[tuple[Path, OutputPaths]], results: Sequence[ScanResult]
    ) -> None:
        """Write the table; and a page of it, where any scan has a report.

        outputs: as `outputs` gave them. results: in the same order.
        """
        rows = [*self._earlier_results(outputs), *results]
        write_text(self.table, volumes_csv(rows))
        self._write_page(rows)

    def _write_page(self, rows: Sequence[ScanResult]) -> None:
        if any(
            name.endswith("report.html") for row in rows for name in row.record.get("files", [])
        ):
            write_text(self.folder / PAGE, volumes_page(rows, self.folder))

    def _earlier_results(self, outputs: Sequence[tuple[Path, OutputPaths]]) -> list[ScanResult]:
        """The results that earlier runs left here and this one has none for: the table is whole."""
        records = [(path, read_record(path)) for path in self._records()]
        finished = [(path, each) for path, each in records if each and not is_unfinished(each)]
        return [
            ScanResult(self._scan_of(record), "done", record)
            for record in self._others(finished, outputs)
        ]

    def _others(
        self,
        records: Sequence[tuple[Path, Json]],
        outputs: Sequence[tuple[Path, OutputPaths]],
    ) -> list[Json]:
        """The records that are of none of the scans. records: each with its file.

        A scan may have had another name here, beside others of its name; so its path tells.
        """
        scans = {str(scan.resolve()) for scan, _ in outputs}
        return [record for _, record in records if record["scan"][0] not in scans]

    def _scan_of(self, record: Json) -> Path:
        return Path(record["scan"][0])

    def _records(self) -> list[Path]:
        """The files of all records in the folder, sorted."""
        return sorted(self.folder.glob(f"*{RECORD_SUFFIX}"))
