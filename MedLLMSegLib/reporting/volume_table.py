"""The report's table: each structure's volume, its share of the intracranial volume, asymmetry and
confidence; many structures in groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from MedLLMSegLib.core.quality import Quality
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.metrics.volumetry import (
    NOT_AVAILABLE,
    StructureVolume,
    Volumetry,
    volumetry,
)

from .structure_masks import organs

NOTHING = "–"
ASYMMETRY_TEXT = (
    '<p class="facts">Asymmetry: 100 (L - R) / ((L + R) / 2), positive where the left side is'
    " larger.</p>"
)
# The sign says it without a colour, and the words come with the pointer.
LOW_MARK = '<span title="low: look at this outline first">!</span>'
HEADINGS = {
    "volume": "Volume (mL)",
    "percent": "Of the intracranial volume",
    "asymmetry": "Left - right asymmetry",
    "confidence": "Mean confidence",
    "expected": "Expected Dice",
    "interval": "90 % interval (mL)",
    "light": "Quality",
}


@dataclass(frozen=True)
class _Table:
    """A segmentation's measurements, and which columns they fill."""

    segmentation: Segmentation
    found: Volumetry

    @property
    def columns(self) -> list[str]:
        """Keys of `HEADINGS`."""
        shown = ["volume"]
        if self.found.intracranial is not None:
            shown.append("percent")
        if self.found.has_sides:
            shown.append("asymmetry")
        shown.append("confidence")
        if self.found.has_expected_dice:
            shown.append("expected")
        if self.found.has_intervals:
            shown.append("interval")
        return [*shown, "light"] if self.found.quality is not None else shown

    def structure_row(self, row: StructureVolume) -> str:
        structure = row.structure
        cells = {
            "volume": _millilitres(row.volume_ml),
            "percent": _percent(row.percent_intracranial, 2),
            # once for both sides
            "asymmetry": ""
            if structure.side == "right"
            else _percent(row.asymmetry_percent, 1, "+"),
            "confidence": _share(self.segmentation.confidence.get(structure.label)),
            "expected": _expected(row.expected_dice, row.is_doubtful),
            "interval": _interval(row.interval_ml),
            "light": light_html(row.quality, row.quality.light) if row.quality else "",
        }
        return self._row(_swatch(structure) + escape(structure.name), cells)

    def sum_row(self, name: str, rows: Sequence[StructureVolume], kind: str) -> str:
        """kind: the row's class in HTML."""
        percents = [row.percent_intracranial for row in rows]
        known = [percent for percent in percents if percent is not None]
        cells = {
            "volume": _millilitres(sum(row.volume_ml for row in rows)),
            "percent": _percent(sum(known) if len(known) == len(rows) else None, 2),
        }
        return self._row(escape(name), cells, kind)

    def intracranial_row(self) -> str:
        whole = self.found.intracranial
        if whole is None:
            return ""
        if whole.ml is not None:
            return self._row("Intracranial volume", {"volume": f"{whole.ml:.1f}"}, "sum")
        reason = f" ({escape(whole.why_not)})" if whole.why_not else ""
        span = len(self.columns)
        return (
            f'<tr class="sum"><td>Intracranial volume</td><td colspan="{span}">'
            f"{NOT_AVAILABLE}{reason}</td></tr>"
        )

    def head(self) -> str:
        cells = "".join(f'<th class="n">{HEADINGS[column]}</th>' for column in self.columns)
        return f"<tr><th>Structure</th>{cells}</tr>"

    def _row(self, name: str, cells: dict[str, str], kind: str = "") -> str:
        attribute = f' class="{kind}"' if kind else ""
        numbers = "".join(f'<td class="n">{cells.get(column, "")}</td>' for column in self.columns)
        return f"<tr{attribute}><td>{name}</td>{numbers}</tr>"


def volume_table(segmentation: Segmentation) -> str:
    """The table as HTML: structures by group with a sum for each, or by organ where there are no
    groups, with a sum for each organ of several parts.
    """
    table = _Table(segmentation, volumetry(segmentation))
    grouped = any(structure.group for structure in segmentation.structures)
    rows = _group_rows(table) if grouped else _organ_rows(table)
    lines = [table.head(), *rows, table.intracranial_row()]
    html = "<table>\n" + "\n".join(filter(None, lines)) + "\n</table>"
    return f"{html}\n{ASYMMETRY_TEXT}" if table.found.has_sides else html


def _group_rows(table: _Table) -> Iterable[str]:
    for name, rows in table.found.groups:
        yield table.sum_row(name[:1].upper() + name[1:], rows, "group")
        yield from map(table.structure_row, rows)


def _organ_rows(table: _Table) -> Iterable[str]:
    row_of = {row.structure: row for row in table.found.rows}
    for organ in organs(table.segmentation.structures):
        rows = [row_of[structure] for structure in organ.structures]
        yield from map(table.structure_row, rows)
        if len(rows) > 1:
            yield table.sum_row(organ.name, rows, "sum")


def _swatch(structure: Structure) -> str:
    return f'<span class="swatch" style="background: rgb{structure.color}"></span>'


def _millilitres(ml: float) -> str:
    """With the digits that it deserves: 0.216, 31.8."""
    return f"{ml:.3f}" if ml < 10 else f"{ml:.1f}"


def _percent(number: float | None, digits: int, sign: str = "") -> str:
    return NOTHING if number is None else f"{number:{sign}.{digits}f} %"


def light_html(quality: Quality, text: str) -> str:
    """A coloured dot and words; the reasons come with the pointer."""
    reasons = escape("; ".join(quality.reasons), quote=True)
    dot = f'<span class="light {quality.light}"></span>'
    return f'<span title="{reasons}">{dot}{escape(text)}</span>'


def _interval(ends_ml: tuple[float, float] | None) -> str:
    if ends_ml is None:
        return NOTHING
    return " to ".join(_millilitres(ml) for ml in ends_ml)


def _expected(dice: float | None, low: bool) -> str:
    if dice is None:
        return ""
    return f"{LOW_MARK} {dice:.2f}" if low else f"{dice:.2f}"


def _share(confidence: float | None) -> str:
    if confidence is None or math.isnan(confidence):
        return NOTHING
    return f"{100 * confidence:.0f} %"
