"""The page of a heart's function: its figures, curves, outlined slices and the wall's thickness."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from MedLLMSegLib.core.quality import Quality
from MedLLMSegLib.core.safe_files import make_folder, remove_leftovers, write_text
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.heart_function import Figure, HeartFunction, figures
from MedLLMSegLib.metrics.measured_heart import MeasuredHeart
from MedLLMSegLib.metrics.wall_thickness import SEGMENTS

from .heart_pictures import bulls_eyes, outlined_slices, volume_curves
from .report_page import page, sentences_paragraph, write_picture, write_sentences
from .sentences import as_sentence, heart_sentences
from .volume_table import light_html

NOT_AVAILABLE = "not available"
_EMPTY = ("",) * 5  # cells
METHOD = """\
End-diastole and end-systole are the images with the largest and the smallest left ventricle; both
ventricles are measured in them. Volumes are those of the outlined voxels. Mass is the wall's volume
at end-diastole times 1.05 g/mL. Where the outlines end at the base moves the volumes most: check it
in the slices."""


def write_heart_report(
    folder: PathLike,
    heart: MeasuredHeart,
    scans: Mapping[str, Volume],
    labels: Mapping[str, Volume],
    structures: Sequence[Structure],
    *,
    name: str,
    model: str = "",
    light: Quality | None = None,
    command: str | None = None,
) -> Path:
    """Write report.html with its pictures, and its sentences as report.txt, into a folder; returns
    the page's path.

    scans, labels: as for `outlined_slices`; scans may be empty, then no slices are shown. name: of
    the series. model: "" for outlines that were given. light: of all images
    together, None where there is none. command: the line that repeats the run.
    """
    folder = make_folder(folder)
    remove_leftovers(folder)
    pictures = [
        write_picture(folder / "curves.png", volume_curves(heart.function), "Volumes", "curves")
    ]
    if scans:
        figure = outlined_slices(scans, labels, structures)
        pictures.append(write_picture(folder / "slices.png", figure, "Outlines", "slices"))
    if heart.thickness_mm is not None:
        figure = bulls_eyes(heart.thickness_mm)
        title = "Thickness of the left ventricle's wall (17 segments of the AHA)"
        pictures.append(write_picture(folder / "wall.png", figure, title, "bull's-eyes"))
    told = heart_sentences(heart.function, heart.notes)
    quality = [as_sentence(f"Quality: {light.in_words}")] if light is not None else []
    write_sentences(folder / "report.txt", name, [*quality, *told])
    lit = [f"<p>{light_html(light, f'Quality: {light.in_words}')}</p>"] if light is not None else []
    blocks = [*lit, sentences_paragraph(told), *_figures(heart.function), *pictures]
    text = page(name, "heart function", _facts(heart.function, model), blocks, command)
    return write_text(folder / "report.html", text)


def _figures(function: HeartFunction) -> list[str]:
    return [_table(function), f'<p class="facts">{METHOD}</p>']


def _facts(function: HeartFunction, model: str) -> str:
    images = len(next(iter(function.volumes_ml.values())))
    parts = [
        f"{images} images",
        f"end-diastole in image {function.end_diastole + 1}",
        f"end-systole in image {function.end_systole + 1}",
    ]
    surface = function.person.surface_m2
    if surface is not None:
        parts.append(f"body surface {surface:.2f} m² (Mosteller)")
    parts.append(f"model {escape(model)}" if model else "outlines that were given")
    return " · ".join(parts)


def _table(function: HeartFunction) -> str:
    rows = figures(function)
    is_indexed = any(row.indexed is not None for row in rows)
    level = f"{100 * function.intervals.level:.0f} %" if function.intervals is not None else ""
    head = '<tr><th>Figure</th><th class="n">Value</th>'
    head += f'<th class="n">Interval of {level}</th>' if level else ""
    head += '<th class="n">By body surface</th></tr>' if is_indexed else "</tr>"
    lines = [head]
    for row in rows:
        cells = f'<td>{row.name}</td><td class="n">{value_text(row)}</td>'
        cells += f'<td class="n">{interval_text(row)}</td>' if level else ""
        if is_indexed:
            cells += f'<td class="n">{index_text(row)}</td>'
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def value_text(row: Figure) -> str:
    """ "61.2 mL", or that there is none."""
    return NOT_AVAILABLE if row.value is None else f"{row.value:.1f} {row.unit}"


def interval_text(row: Figure) -> str:
    """ "49.5 to 64.5", or nothing."""
    return "" if row.interval is None else f"{row.interval[0]:.1f} to {row.interval[1]:.1f}"


def index_text(row: Figure) -> str:
    """ "33.1 mL/m²", or nothing."""
    return "" if row.indexed is None else f"{row.indexed:.1f} {row.indexed_unit}"


def function_csv(heart: MeasuredHeart) -> str:
    """One row a figure, then one a segment of the wall; what is not available is an empty cell.

    low, high: the ends of the value's interval.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["figure", "value", "unit", "indexed", "indexed_unit", "low", "high"])
    function = heart.function
    writer.writerow(["End-diastolic image", function.end_diastole + 1, *_EMPTY])
    writer.writerow(["End-systolic image", function.end_systole + 1, *_EMPTY])
    for row in figures(function):
        value, indexed = (_cell(number) for number in (row.value, row.indexed))
        ends = map(_cell, row.interval or (None, None))
        writer.writerow([row.name, value, row.unit, indexed, row.indexed_unit, *ends])
    if heart.thickness_mm is not None:
        for phase, values in zip(("ED", "ES"), heart.thickness_mm, strict=True):
            for segment, value in zip(SEGMENTS, values, strict=True):
                name = f"Wall thickness {phase}, {segment}"
                writer.writerow([name, _cell(float(value)), "mm", *_EMPTY[1:]])
    return text.getvalue()


def _cell(number: float | None) -> float | str:
    return "" if number is None or math.isnan(number) else round(number, 2)
