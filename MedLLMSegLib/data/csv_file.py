"""Reading a table as spreadsheets save it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError


@dataclass(frozen=True)
class CsvRow:
    """One row that is not empty. number: as a spreadsheet shows it, the headings being row 1."""

    number: int
    cells: list[str]


@dataclass(frozen=True)
class CsvTable:
    """columns: the headings in lower case. rows: each with one cell for each heading, or more."""

    columns: list[str]
    rows: list[CsvRow]


def read_csv(path: Path) -> CsvTable:
    """The table of a CSV file whose first row has the headings.

    Empty rows are left out, and cells are stripped of blanks. Columns are separated by commas or
    semicolons. Raises `UserError` for a file that is no CSV in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        heading = text.partition("\n")[0]
        delimiter = ";" if heading.count(";") > heading.count(",") else ","
        # splitlines would also cut a row at a form feed or another of Unicode's line ends.
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f'The table "{path}" could not be read; save it as CSV in UTF-8.'
        ) from error
    columns = [name.strip().lower() for name in lines[0]] if lines else []
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line]
        if any(cells):
            rows.append(CsvRow(number, cells + [""] * (len(columns) - len(cells))))
    return CsvTable(columns, rows)
