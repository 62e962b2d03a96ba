"""The whole brain's quality, from rows that `studies.brain_figures` measures anyway: fitted on
heads synthesised from the val maps, tested on brains with labels by hand and on heads of the test
maps.

A row holds volumes and mean probabilities, and no shapes, so the fit knows the features of these
alone. A head takes 20 s of a core, so nothing is measured for this twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.brain import brain_label_table, brain_structures
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.quality.features import coarse_features
from MedLLMSegLib.segmentation.quality.norms import Norms, learn_norms
from MedLLMSegLib.studies import brain_figures
from MedLLMSegLib.training.synthesis.head_maps import (
    RIGHT,
    label_map_file,
    load_head_map,
    split_names,
)

from .corruptions import Corruption
from .fit import Point
from .subjects import files_digest

AS_IT_IS, NORMS, SOURCE = "as it is", "norms.json", "source"


CSF = (
    "csf"  # around the brain; it goes where the skull is taken off, by each program in its own way
)


def brain_norms(data: Path, folder: Path, report: Progress) -> Norms:
    """Of the label maps that the model was trained on, kept in a file with the digest of these, as
    they take minutes.

    data: the folder of all data. folder: for the file.
    """
    maps, kept = data / "brain_labelmaps", folder / NORMS
    names = split_names(maps)["train"]
    source = files_digest(label_map_file(maps, name) for name in names)
    if kept.exists():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        if stored.get(SOURCE) == source:
            return Norms.from_dict(stored)
    norms = learn_norms(_training_maps(maps, names, report)).without(CSF)
    write_text(kept, json.dumps({**norms.to_dict(), SOURCE: source}))
    return norms


def _training_maps(
    folder: Path, names: Sequence[str], report: Progress
) -> Iterator[tuple[dict[int, Shape], tuple[Structure, ...]]]:
    structures = brain_structures()
    for number, name in enumerate(names):
        report(f"reading {name}", number / len(names))
        head = load_head_map(label_map_file(folder, name))
        on_the_right = (head.sides == RIGHT).astype(np.intp)
        labels = brain_label_table()[head.structures, on_the_right].astype(np.uint8)
        yield label_shapes(Volume(labels, np.eye(4), name)), structures


def brain_rows(
    data: Path, folder: Path, model: SegmenterModel, sets: Sequence[str], report: Progress
) -> list[Json]:
    """The rows of some sets ("val", "oasis", "synthetic"), measured where they are not there."""
    segment_scan = brain_figures.segmenting(model)
    rows = []
    for name, part in zip(sets, report.parts(len(sets)), strict=True):
        found = brain_figures.run(data, folder, segment_scan, model.sha256, f"{name}/*", part)
        rows += [row for row in found if row["scan"].startswith(f"{name}/")]
    return rows


def brain_points(rows: Sequence[Json], norms: Norms) -> list[Point]:
    """All structures of all rows that were not refused and that have labels."""
    structures = brain_structures()
    points = []
    for row in rows:
        if "refused" in row or "dice" not in row:
            continue
        volumes_ml = {int(n): float(ml) for n, ml in row["volumes_ml"].items()}
        sure = {int(n): float(p) for n, p in row["confidence"].items() if p and math.isfinite(p)}
        features = coarse_features(volumes_ml, sure, structures, norms)
        for s in structures:
            dice = row["dice"].get(str(s.label))
            if dice is None or not math.isfinite(dice) or s.sideless_key not in norms.structures:
                continue
            points.append(
                Point(
                    s.sideless_key,
                    row["scan"],
                    row["person"],
                    corruption_of(row["scan"]),
                    float(dice),
                    float(row["true_ml"].get(str(s.label), 0.0)),
                    volumes_ml.get(s.label, 0.0),
                    sure.get(s.label, 0.0),
                    features.get(s.label),
                )
            )
    return points


def corruption_of(scan: str) -> Corruption:
    """Of a row's name, "set/case/condition"."""
    set_name, _case, condition = scan.split("/", 2)
    if set_name != "oasis" or condition == AS_IT_IS:
        return Corruption()
    return Corruption(condition, 1)


def counted(rows: Sequence[Json]) -> Json:
    """For the figures: how many scans, persons and refusals."""
    return {
        "scans": len(rows),
        "persons": len({row["person"] for row in rows}),
        "refused": sum("refused" in row for row in rows),
    }
