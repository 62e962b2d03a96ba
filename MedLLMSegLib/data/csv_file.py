"""Reading a table as spreadsheets save it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from MedLLMSegLib.core.errors import UserError


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """(headings in small letters, rows): each row its number, as a spreadsheet shows it, and a cell
    for each heading.

    The first row has the headings; empty rows are left out, and cells are without blanks around
    them. Commas or semicolons part the columns. Raises `UserError` for a file that is no CSV in
    UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        heading = text.partition("\n")[0]
        delimiter = ";" if heading.count(";") > heading.count(",") else ","
        # Not splitlines, which would cut a row at a form feed or another of Unicode's ends of line,
        # too.
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f'The table "{path}" could not be read; save it as CSV in UTF-8.'
        ) from error
    columns = [name.strip().lower() for name in lines[0]] if lines else []
    rows = [
        (number, [value.strip() for value in line])
        for number, line in enumerate(lines[1:], start=2)
    ]
    return columns, [
        (number, cells + [""] * (len(columns) - len(cells))) for number, cells in rows if any(cells)
    ]
