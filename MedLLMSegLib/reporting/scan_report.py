"""The report of a segmentation: an HTML page and its pictures in a folder of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.safe_files import make_folder, remove_leftovers, write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume

from .group_pictures import group_slices, group_surfaces, has_groups
from .report_page import page, sentences_paragraph, write_picture, write_sentences
from .sentences import scan_sentences
from .slice_pictures import slice_picture
from .structure_masks import Mask, organs, structure_masks
from .surface_picture import surface_picture
from .volume_table import light_html, volume_table


def write_report(
    volume: Volume, segmentation: Segmentation, folder: PathLike, command: str | None = None
) -> Path:
    """Write report.html with its pictures, and its sentences as report.txt, into a folder; returns
    the page's path.

    volume: the scan, 3D. segmentation: its label map, on the same grid or one with other voxels.
    command: the line that repeats the run. Raises `UserError` where the folder cannot be written.
    """
    if not _cover_each_other(volume.grid, segmentation.labels.grid):
        raise UserError(
            f'The segmentation does not lie on the grid of "{volume.name}"; segment the scan again.'
        )
    folder = make_folder(folder)
    remove_leftovers(folder)
    figures = _write_pictures(volume, segmentation, folder)
    write_sentences(folder / "report.txt", volume.name, scan_sentences(segmentation))
    return write_text(folder / "report.html", _page(volume, segmentation, figures, command))


def _cover_each_other(one: Grid, other: Grid) -> bool:
    """Whether two grids fill the same space; with voxels of another size but for one at the edge,
    which may stand out.
    """
    if np.allclose(one.spacing_mm, other.spacing_mm):
        return one.shape == other.shape
    largest_mm = max(*one.spacing_mm, *other.spacing_mm)
    return bool(np.abs(one.corners_ras() - other.corners_ras()).max() <= largest_mm)


def _write_pictures(volume: Volume, segmentation: Segmentation, folder: Path) -> list[str]:
    """Write slices and 3D views; returns the HTML of each picture."""
    masks = structure_masks(segmentation)
    if has_groups(segmentation.structures):
        pictures = _group_pictures(volume, masks)
    else:
        pictures = _organ_pictures(volume, segmentation, masks)
    return [
        write_picture(folder / name, picture, title, content)
        for name, picture, title, content in pictures
    ]


# file name, picture, title, what the picture shows
_Picture: TypeAlias = tuple[str, Figure, str, str]


def _organ_pictures(
    volume: Volume, segmentation: Segmentation, masks: dict[int, Mask]
) -> Iterator[_Picture]:
    """Slices of each organ that was found, and a 3D view."""
    present = [
        organ
        for organ in organs(segmentation.structures)
        if any(structure.label in masks for structure in organ.structures)
    ]
    for n, organ in enumerate(present or [None], 1):
        title = organ.name if organ else "The scan"
        picture = slice_picture(volume, organ, masks)
        yield f"slices_{n}.png", picture, title, "slices with outlines"
    surface = surface_picture(list(masks.values()))
    if surface is not None:
        yield "surface.png", surface, "3D view", "surfaces of the structures"


def _group_pictures(volume: Volume, masks: dict[int, Mask]) -> Iterator[_Picture]:
    """Slices through all structures, and through each group; 3D views from outside and within."""
    for n, (title, picture) in enumerate(group_slices(volume, masks), 1):
        yield f"slices_{n}.png", picture, title, "slices with outlines"
    for n, (title, picture) in enumerate(group_surfaces(masks), 1):
        yield f"surface_{n}.png", picture, title, "surfaces of the structures"


def _page(
    volume: Volume, segmentation: Segmentation, figures: list[str], command: str | None
) -> str:
    table = volume_table(segmentation)
    if has_groups(segmentation.structures):  # a long table: first see the whole
        figures = [figures[0], table, *figures[1:]]
        table = ""
    convention = (
        "<p class=facts>Slices are in radiological convention: the patient's left is on your right."
        " Click a picture to see it whole.</p>"
    )
    told = sentences_paragraph(scan_sentences(segmentation))
    blocks = [quality_paragraph(segmentation), told, table, convention, *figures]
    return page(volume.name, "segmentation report", _facts(volume, segmentation), blocks, command)


def quality_paragraph(segmentation: Segmentation) -> str:
    """The light of the scan with its reasons, as HTML; "" where nothing is known of it."""
    if segmentation.quality is None:
        return ""
    scan = segmentation.quality.scan
    return f"<p><b>Quality:</b> {light_html(scan, scan.in_words)}</p>"


def _facts(volume: Volume, segmentation: Segmentation) -> str:
    size = " × ".join(str(n) for n in volume.array.shape[::-1])
    spacing = " × ".join(f"{s:.4g}" for s in volume.spacing_mm[::-1])
    seconds = f", {segmentation.seconds:.1f} s" if segmentation.seconds else ""
    precision = f" in {escape(segmentation.precision)}" if segmentation.precision else ""
    model = (
        f" · model {escape(segmentation.model)}{precision}{seconds}" if segmentation.model else ""
    )
    return f"{size} voxels of {spacing} mm, {orientation(volume.ijk_to_ras)}{model}"


def orientation(ijk_to_ras: Array) -> str:
    """The directions of i, j and k ("RAS", "LPS", ...), and how many degrees they are turned off.

    ijk_to_ras: (4, 4).
    """
    axes = np.asarray(ijk_to_ras, float)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    nearest = np.abs(axes).argmax(0)  # (3,) the world axis of each array axis
    letters = ""
    for column, row in enumerate(nearest):
        positive, negative = ("RL", "AP", "SI")[row]
        letters += negative if axes[row, column] < 0 else positive
    tilt = math.degrees(math.acos(min(1.0, float(np.abs(axes).max(0).min()))))
    return f"{letters} turned by up to {tilt:.0f}°" if tilt >= 0.5 else letters
