"""The table of speed as text: on the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from MedLLMSegLib.core.types import Json

from .measure import EXPONENT, UPPER_EXPONENT, WHY
from .row import OURS

HEADER = (
    "what",
    "by",
    "processor s",
    "wall s",
    "memory MiB",
    "peak MiB",
    "ours over it",
    "aim, and what else was seen",
)
COMPARED = (
    "what",
    "beside, or size",
    "ours s, before",
    "after",
    "ours MiB, before",
    "after",
    "ours over it, before",
    "after",
    "aim",
)
NUMBERS = range(2, 7)  # columns that stand on the right

Line: TypeAlias = tuple[str, ...]


def table(results: Json) -> str:
    """The results of `run_bench` as a Markdown table that is aligned, with what it belongs to."""
    lines = [line for row in results["rows"].values() for line in _lines(row)]
    return f"{_aligned([HEADER, *lines])}\n\n{_about(results['about'])}\n"


def comparison(before: Json, after: Json) -> str:
    """Two runs' ratios and our own figures in one Markdown table, for the rows of the second."""
    lines = [
        line
        for name, row in after["rows"].items()
        if WHY not in row
        for line in _compared(before["rows"].get(name, {}), row)
    ]
    texts = (f"before: {_about(before['about'])}", f"after: {_about(after['about'])}")
    return f"{_aligned([COMPARED, *lines], range(2, 8))}\n\n{'; '.join(texts)}\n"


def _compared(before: Json, after: Json) -> Iterator[Line]:
    """A line for each ratio; what ours takes stands on the first. Of growth, on each size's."""
    title, aim = after["title"], after["aim"]
    names = [name for name in after["contestants"] if name != OURS] or [OURS]
    for name in names:
        growth = name not in after["ratios"]
        own = name if growth else OURS
        old, new = (
            {} if WHY in r else r.get("contestants", {}).get(own, {}) for r in (before, after)
        )
        figures = [_figure(each.get("processor_s")) for each in (old, new)]
        figures += [_memory(each) for each in (old, new)]
        ratios = [_figure(r.get("ratios", {}).get(name)) for r in (before, after)]
        yield (title, name, *(figures if title or growth else [""] * 4), *ratios, aim)
        title = aim = ""


def _lines(row: Json) -> Iterator[Line]:
    """A line for each contestant; the row's title and aim stand on the first."""
    if WHY in row:
        yield (row["title"], "", "", "", "", "", "", f"not measured: {row[WHY]}")
        return
    remarks = "; ".join(filter(None, [row["aim"], *_remarks(row)]))
    title = row["title"]
    for name, figures in row["contestants"].items():
        yield (
            title,
            name,
            _figure(figures["processor_s"]),
            _figure(figures["wall_s"]),
            _memory(figures),
            _figure(figures.get("peak_mib")),
            "" if name == OURS else _figure(row["ratios"].get(name)),
            remarks,
        )
        title = remarks = ""


def _remarks(row: Json) -> Iterator[str]:
    for name in (EXPONENT, UPPER_EXPONENT):
        if name in row["ratios"]:
            yield f"**{name}: {row['ratios'][name]:.2f}**"
    for what, value in row["facts"].items():
        number = {int: ",", float: ".2g"}.get(type(value), "")
        yield f"{what}: {value:{number}}"


def _memory(figures: Json) -> str:
    """What a call takes, or what it takes beside the network."""
    if "beside_mib" in figures:
        return f"{figures['beside_mib']:.0f} beside"
    return _figure(figures.get("memory_mib"))


def _figure(value: float | None) -> str:
    """Three digits, as far as they are not of a whole number."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _aligned(lines: Sequence[Line], numbers: range = NUMBERS) -> str:
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    rule = tuple("-" * (w - 1) + ":" if n in numbers else "-" * w for n, w in enumerate(widths))
    return "\n".join(_row_text(line, widths, numbers) for line in (lines[0], rule, *lines[1:]))


def _row_text(line: Line, widths: Sequence[int], numbers: range) -> str:
    cells = (
        cell.rjust(width) if n in numbers else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return f"| {' | '.join(cells)} |"


def _about(about: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in about.items())
