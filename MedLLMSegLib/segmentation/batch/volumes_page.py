"""The page over all scans of a batch: its table as HTML, with a link to each scan's report."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

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
    reports = [Path(f) for f in result.record.get("files", []) if Path(f).name == "report.html"]
    if not reports:
        return name
    link = Path(os.path.relpath(reports[0], folder)).as_posix()
    return f'<a href="{escape(link)}">{name}</a>'
