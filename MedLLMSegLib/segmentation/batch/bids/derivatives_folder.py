"""The folder of a batch over a BIDS dataset: a dataset of derivatives, and the table over all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.safe_files import remove_leftovers, write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.io.bids.dataset import DESCRIPTION, read_description
from MedLLMSegLib.io.bids.names import alphanumeric, read_name
from MedLLMSegLib.io.volume_files import RECORD_SUFFIX
from MedLLMSegLib.segmentation.batch.outputs import (
    VOLUMETRY_SUFFIX,
    OutputPaths,
    SegmentOptions,
)
from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult, volumes_csv

from .derivative_files import RAW, DerivativeFiles

BIDS_VERSION = "1.10.0"
PROGRAM = "MedLLMSeg"
CODE_URL = "https://github.com/medllmseg/SlicerMedLLMSeg"
# The standard's own place for tables, phenotype/, has one row a participant; here it is one a scan,
# model and resolution.
TABLE = "volumes.tsv"
README = """# Segmentations by MedLLMSeg

Label maps (`_dseg.nii.gz`) with their tables of values (`_dseg.tsv`) and how each was made
(`_dseg.json`). The entity `seg` names the model, and `desc` the contrast of the scan that was
segmented. `volumes.tsv` holds the volumes of all scans; `.bidsignore` names it, as the standard has
no place for a table over scans. Research use only; not a medical device.
"""
READMES = ("README", "README.md", "README.rst", "README.txt")  # a dataset has one
IGNORE_FILE = ".bidsignore"
# What the standard has no place for
IGNORED = (
    "/volumes.tsv",
    "/volumes.json",
    "/volumes.html",
    f"*{RECORD_SUFFIX}",
    f"*{VOLUMETRY_SUFFIX}",
    "*_report/",
)
NOT_AVAILABLE = "n/a"
FIRST_COLUMNS = ("participant_id", "session_id", "source_file")
COLUMNS = {
    "participant_id": "The subject, as in the scan's name",
    "session_id": "The session, as in the scan's name",
    "source_file": "The scan, within its dataset",
    "resolution_mm": "Edge of the label map's cubes; n/a: it has the scan's own grid",
    "status": "done or skipped (finished before), or failed; then message says why",
    "model": "The model that outlined the structures",
    "message": "Why a scan failed",
    "intracranial_ml": "Volume of the inside of the skull",
    "light": "Of the scan: green (nothing unusual), amber (look closely), red (do not rely on it)",
    "light_reasons": "Why the light of the scan is not green",
}
# End of a column's name -> what it is, and its unit
ENDINGS = (
    ("_asymmetry_percent", "100 (L - R) / ((L + R) / 2)", "percent"),
    ("_percent", "Share of the intracranial volume", "percent"),
    ("_expected_dice", "Dice that the model expects of its outline, 0 to 1", None),
    ("_low_ml", "Lower end of the volume's interval", "mL"),
    ("_high_ml", "Upper end of the volume's interval", "mL"),
    ("_light", "green: nothing unusual; amber: look closely; red: do not rely on it", None),
    ("_ml", "Volume", "mL"),
)


@dataclass(frozen=True)
class DerivativesFolder(ResultFolder):
    """source: the folder of the scans' dataset. model: the id of the model."""

    source: Path
    model: str

    @property
    def table(self) -> Path:
        return self.folder / TABLE

    def check(self) -> None:
        """Raise `UserError` where another dataset, or a foreign file of our names, is there."""
        description = read_description(self.folder)
        if self.folder.resolve() == self.source.resolve() or (
            description is not None and not _is_ours(description)
        ):
            raise UserError(
                f'"{self.folder}" is another BIDS dataset; name a folder for the derivatives, such'
                f' as "{self.source / "derivatives" / "medllmseg"}".'
            )
        self._check_table()
        self._check_page()
        _with_our_lines(self.folder / IGNORE_FILE)
        remove_leftovers(self.folder)

    def _check_table(self) -> None:
        """The table is known by its first columns, and its sidecar by what it says of one."""
        table, sidecar = self.table, self.table.with_suffix(".json")
        foreign = []
        if table.exists() and not table.read_text(encoding="utf-8", errors="replace").startswith(
            "\t".join(FIRST_COLUMNS)
        ):
            foreign.append(table)
        if sidecar.exists() and not _describes_our_table(sidecar):
            foreign.append(sidecar)
        if foreign:
            raise UserError(
                f'"{foreign[0]}" is not one of our tables; choose another folder or rename it.'
            )

    def outputs(
        self, scans: Sequence[Path], options: SegmentOptions
    ) -> list[tuple[Path, OutputPaths]]:
        outputs = [(scan, self._paths(scan, options)) for scan in scans]
        seen: dict[Path, Path] = {}
        for scan, paths in outputs:
            other = seen.setdefault(paths.labels[0], scan)
            if other is not scan:
                raise UserError(
                    f'"{other}" and "{scan}" have the same name in BIDS; remove or rename one.'
                )
        return outputs

    def _paths(self, scan: Path, options: SegmentOptions) -> OutputPaths:
        name = read_name(scan)
        if name is None:
            raise UserError(f'"{scan.name}" is not the name of a scan in BIDS; rename it.')
        own = {"seg": alphanumeric(self.model)}
        if options.resolution_mm is not None:
            own["res"] = f"cubes{alphanumeric(f'{options.resolution_mm:g}'.replace('.', 'p'))}mm"
        stem = name.derived("dseg", **own).stem
        source = os.path.relpath(scan, self.source)
        folder = (self.folder / source).parent
        return OutputPaths(
            (folder / f"{stem}.nii.gz",),
            report=folder / f"{stem}_report" if options.report else None,
            probabilities=options.probabilities,
            uncertainty=options.uncertainty,
            record=folder / f"{stem}{RECORD_SUFFIX}",
            volumetry=folder / f"{stem}{VOLUMETRY_SUFFIX}" if options.volumetry else None,
            derivative=DerivativeFiles(
                folder / f"{stem}.tsv", folder / f"{stem}.json", Path(source).as_posix()
            ),
        )

    def finish(
        self, outputs: Sequence[tuple[Path, OutputPaths]], results: Sequence[ScanResult]
    ) -> None:
        """Write the table and what makes the folder a dataset."""
        whole = [*self._earlier_results(outputs), *results]
        self._write_page(whole)
        rows = self._table_rows(whole)
        header = next(rows)
        table = io.StringIO()
        csv.writer(table, delimiter="\t", lineterminator="\n").writerows([header, *rows])
        write_text(self.table, table.getvalue())
        write_text(self.table.with_suffix(".json"), _json_text(_column_texts(header)))
        write_text(self.folder / DESCRIPTION, _json_text(self._description()))
        write_text(self.folder / IGNORE_FILE, _with_our_lines(self.folder / IGNORE_FILE))
        if not any((self.folder / name).exists() for name in READMES):
            write_text(self.folder / "README.md", README)

    def _records(self) -> list[Path]:
        return sorted(self.folder.glob(f"sub-*/**/*{RECORD_SUFFIX}"))

    def _others(
        self,
        records: Sequence[tuple[Path, Json]],
        outputs: Sequence[tuple[Path, OutputPaths]],
    ) -> list[Json]:
        """Each model and resolution has records of its own, so a record's file tells."""
        these = {paths.record.resolve() for _, paths in outputs if paths.record is not None}
        return [record for path, record in records if path.resolve() not in these]

    def _scan_of(self, record: Json) -> Path:
        source = record.get("source_file")  # early records of 0.4 have none
        return super()._scan_of(record) if source is None else self.source / source

    def _table_rows(self, results: Sequence[ScanResult]) -> Iterator[list[str]]:
        """The header, then a row a scan: that of `volumes_csv`, with BIDS's names."""
        header, *rows = csv.reader(io.StringIO(volumes_csv(results)))
        yield [*FIRST_COLUMNS, "resolution_mm", *header[1:]]
        for result, (scan, *cells) in zip(results, rows, strict=True):
            resolution_mm = result.record.get("resolution_mm")
            name = read_name(Path(scan))
            session = name.label("ses") if name else None
            yield [
                f"sub-{name.label('sub')}" if name else NOT_AVAILABLE,
                f"ses-{session}" if session else NOT_AVAILABLE,
                Path(os.path.relpath(scan, self.source)).as_posix(),
                NOT_AVAILABLE if resolution_mm is None else f"{resolution_mm:g}",
                *(" ".join(cell.split()) or NOT_AVAILABLE for cell in cells),
            ]

    def _description(self) -> Json:
        source = _place(self.source, self.folder)
        name = (read_description(self.source) or {}).get("Name") or self.source.resolve().name
        # What somebody added to ours stays: authors, a licence, another program.
        earlier = read_description(self.folder) or {}
        others = [each for each in earlier.get("GeneratedBy", []) if not _is_our_name(each)]
        us = {"Name": PROGRAM, "Version": __version__, "CodeURL": CODE_URL}
        return {
            "Name": f"{PROGRAM}: segmentations of {name}",
            **earlier,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [us, *others],
            "SourceDatasets": [{"URL": source}],
            "DatasetLinks": {RAW: source},
        }


def _is_ours(description: Json) -> bool:
    made_by = description.get("GeneratedBy")
    if not isinstance(made_by, list):
        return False
    return any(_is_our_name(each) for each in made_by)


def _is_our_name(maker: object) -> bool:
    return isinstance(maker, dict) and maker.get("Name") == PROGRAM


def _describes_our_table(sidecar: Path) -> bool:
    try:
        content = parse_json(sidecar.read_bytes())
    except (OSError, ValueError):
        return False
    column = content.get("source_file") if isinstance(content, dict) else None
    return isinstance(column, dict) and column.get("Description") == COLUMNS["source_file"]


def _with_our_lines(path: Path) -> str:
    """The text of a .bidsignore, with those of our lines that it lacks at its end.

    Raises `UserError` for a file that is not text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'"{path}" cannot be read as text; choose another folder or rename it.'
        ) from error
    lines = text.splitlines()
    missing = [line for line in IGNORED if line not in lines]
    return "".join(f"{line}\n" for line in [*lines, *missing])


def _place(folder: Path, seen_from: Path) -> str:
    """A folder as a relative path with /, which says nothing of this computer; on another drive of
    Windows, as a URI.
    """
    try:
        return Path(os.path.relpath(folder.resolve(), seen_from.resolve())).as_posix()
    except ValueError:
        return folder.resolve().as_uri()


def _column_texts(header: Sequence[str]) -> Json:
    """What each column of the table is, for the JSON file beside it."""
    texts: Json = {}
    for column in header:
        ending = next((each for each in ENDINGS if column.endswith(each[0])), None)
        if column in COLUMNS or ending is None:
            texts[column] = {"Description": COLUMNS.get(column, column)}
        else:
            end, what, unit = ending
            structure = column[: -len(end)].replace("_", " ")
            texts[column] = {"Description": f"{what}: {structure}"}
            if unit is not None:
                texts[column]["Units"] = unit
    if "intracranial_ml" in texts:
        texts["intracranial_ml"]["Units"] = "mL"
    return texts


def _json_text(content: Json) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
