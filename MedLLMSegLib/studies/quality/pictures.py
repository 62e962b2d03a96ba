"""A flagged scan of each kind, for docs/quality.md.

    python -m MedLLMSegLib.studies.quality.pictures --data ../shared/data --output docs/images

Every scan is a head synthesised from a label map kept for the test, so that no picture shows a real
person. Below each stand the light and its reasons, as `brain-mr` gives them.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.reporting.slice_drawing import AXIAL, draw_slice, label, square_panels
from MedLLMSegLib.reporting.structure_masks import structure_masks
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.segmentation.pipeline import segment
from MedLLMSegLib.studies.brain_scans import SYNTHETIC_SEED, synthetic_head

from .corruptions import LEVELS, Corruption, corrupt

MODEL, PICTURE = "brain-mr", "quality-flagged.png"
SHOWN = (
    ("as it is", Corruption()),
    ("slices that slipped", Corruption("slices that slipped", LEVELS)),
    ("half of it cut off", Corruption("cut", LEVELS)),
    ("a wrong pixel size", Corruption("pixel size", LEVELS - 1)),
)
WIDTH = 44  # characters of a line below a picture
MOST_LINES, DPI = 5, 75


def flagged_picture(results: Iterable[tuple[str, Volume, Segmentation | None, str]]) -> Figure:
    """A panel for each (title, scan, result or None, what is said of it)."""
    shown = list(results)
    figure, panels = square_panels(1, len(shown))
    for panel, (title, scan, result, says) in zip(panels, shown, strict=True):
        outlines = list(structure_masks(result).values()) if result is not None else []
        corners = scan.grid.corners_ras()
        middle, side_mm = scan.grid.centre_ras(), float(np.ptp(corners, axis=0).max())
        draw_slice(panel, scan, outlines, AXIAL, middle, side_mm)
        label(panel, 0.5, 0.9, title, ha="center", fontsize=12, fontweight="bold")
        lines = textwrap.wrap(says, WIDTH)
        if len(lines) > MOST_LINES:
            lines = [*lines[:MOST_LINES], "..."]
        label(panel, 0.5, 0.17, "\n".join(lines), ha="center", fontsize=8)
    return figure


def main(arguments: Iterable[str] | None = None) -> int:
    """Segment the scans and draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the shared data")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the picture")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        model, maps = load_model(MODEL, "cpu"), options.data / "brain_labelmaps"
        name = json.loads((maps / "splits.json").read_text(encoding="utf-8"))["test"][0]
        head, truth = synthetic_head(maps, name, SYNTHETIC_SEED)
        results = []
        for title, corruption in SHOWN:
            scan, _labels = corrupt(head, truth, corruption)
            result: Segmentation | None = None
            try:
                result = segment(scan, model)
                says = result.quality.scan.in_words if result.quality is not None else "no light"
            except UserError as refused:
                says = f"refused: {refused}"
            print(f"{title}: {says}")
            results.append((title, scan, result, says))
        figure = flagged_picture(results)
    except (UserError, OSError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    with atomic_write(options.output / PICTURE, ".png") as temporary:
        figure.savefig(temporary, facecolor=figure.get_facecolor(), dpi=DPI)
    return 0


if __name__ == "__main__":
    sys.exit(main())
