"""The page over all scans of a batch: its table as HTML, with a link to each scan's report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from MedLLMSegLib.core.types import Json

from .volumes_table import ScanResult, volumes_csv

PAGE = "volumes.html"
MARK = "Made by MedLLMSeg."  # by which a page is known as ours
STYLE = """:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1rem .3rem 0; text-align: left; border-bottom: 1px solid #8886;
         white-space: nowrap; }
footer { margin-top: 2rem; font-size: .9rem; }"""


def volumes_page(results: Sequence[ScanResult], folder: Path) -> str:
    """The page as HTML. folder: where it will lie; links to reports are relative to it.

    It says nothing of how or when the batch ran, so the same results give the same page.
    """
    header, *rows = csv.reader(io.StringIO(volumes_csv(results)))
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in header)
    lines = [
        f"<tr><td>{_scan_cell(result, folder)}</td>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for result, (_, *cells) in zip(results, rows, strict=True)
    ]
    count = Counter(result.status for result in results)
    facts = ", ".join(f"{count[status]} {status}" for status in ("done", "skipped", "failed"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Volumes of {len(results)} scans</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Volumes of {len(results)} scans</h1>
<p>{facts}</p>
<table>
<tr>{head}</tr>
{chr(10).join(lines)}
</table>
<footer>{MARK} Research use only; not a medical device.</footer>
</body>
</html>
"""


def _scan_cell(result: ScanResult, folder: Path) -> str:
    """The scan's name, which leads to its report where it has one."""
    name = escape(str(result.scan))
    report = _report_in(folder, result.record)
    if report is None:
        return name
    return f'<a href="{escape(quote(report.as_posix()))}">{name}</a>'


def _report_in(folder: Path, record: Json) -> Path | None:
    """A scan's report, seen from the folder; None where it is not there.

    The record has where it was written, in full. The folder may have been moved since: so what
    counts is the longest end of that path which is in the folder.
    """
    for file in record.get("written", {}):
        parts = Path(file).parts
        if parts[-1] == "report.html":
            ends = (Path(*parts[start:]) for start in range(1, len(parts) - 1))
            return next((end for end in ends if (folder / end).is_file()), None)
    return None
