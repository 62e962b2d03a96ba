"""The page of an explanation: where the evidence lies, in a sentence and in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from MedLLMSegLib.core.safe_files import make_folder, remove_leftovers, write_text
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume

from .evidence_pictures import evidence_picture
from .report_page import note_paragraphs, page, write_picture

HOW_TO_READ = """\
From red to yellow: features there speak for the outlined structure (Grad-CAM for segmentation). The
map is as coarse as the layer that it comes from, and it does not say that the outline is right. How
much better than chance and than mere distance such maps tell what the model needs is measured in
docs/explain.md."""


def write_explanation(
    folder: PathLike,
    volume: Volume,
    evidence: Volume,
    region: Volume,
    structure: Structure,
    *,
    facts: str,
    sentences: Sequence[str],
    command: str | None = None,
) -> Path:
    """Write report.html and its picture into a folder; returns the page's path.

    evidence, region: as for `evidence_picture`. facts: below the heading, such as model and layer.
    sentences: what was measured, and notes. command: the line that repeats the run.
    """
    folder = make_folder(folder)
    remove_leftovers(folder)
    figure = evidence_picture(volume, evidence, region, structure)
    title = f"Evidence for {structure.name}"
    picture = write_picture(folder / "evidence.png", figure, title, "slices with the map over them")
    blocks = [note_paragraphs(sentences) + f'<p class="facts">{HOW_TO_READ}</p>', picture]
    text = page(volume.name, "explanation", escape(facts), blocks, command)
    return write_text(folder / "report.html", text)
