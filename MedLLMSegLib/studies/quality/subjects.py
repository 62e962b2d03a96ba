"""The scans that a model's quality is fitted and tested on, and the label maps that its norms are
learnt from: those of its training, those it was chosen by, and others.

A case is known by its digest (`registry.seen_cases`), whatever the splits of the data say today.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, read_cases, read_label_map
from MedLLMSegLib.data.acdc import convert_acdc
from MedLLMSegLib.data.case_digest import case_marks, scan_digest
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.quality.norms import Norms, learn_norms

from .measure import Subject

CONVERTED = "acdc"


@dataclass(frozen=True)
class Subjects:
    """norms: of the training cases. fit: of persons that chose the weights at most. test: of
    persons that had no part in anything.
    """

    norms: Norms
    fit: tuple[Subject, ...]
    test: tuple[Subject, ...]


def subjects_of(
    model: SegmenterModel, data: Path, folder: Path, progress: Report | None = None
) -> Subjects:
    """The subjects of a model.

    data: its labelled cases; ACDC as it is distributed is converted into ``folder``. Raises
    `UserError` where there are none to fit or to learn from.
    """
    report = Progress.of(progress)
    if any(data.glob("*.h5")):
        # One folder for each data; its dataset.json is written last.
        converted = folder / f"{CONVERTED}-{files_digest(data.glob('*.*'))}"
        there = (converted / "dataset.json").exists()
        data = converted if there else convert_acdc(data, converted)
    return _labelled_subjects(model, data, report)


def files_digest(paths: Iterable[Path]) -> str:
    """16 hex digits of files' places, sizes and times: what was made of them is kept with it."""
    about = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(paths)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _labelled_subjects(model: SegmenterModel, data: Path, report: Progress) -> Subjects:
    case_set = read_cases(data)
    structures = model.structures_for(lateral=False)
    if len(case_set.labels) != len(structures):
        raise UserError(
            f'"{model.entry.id}" has {len(structures)} structures and "{data}" has'
            f" {len(case_set.labels)}; give cases like those that it was trained on."
        )
    seen = SeenCases.of_bundle(read_metadata(model.entry.folder))
    parts: dict[str, list[Case]] = {"train": [], "val": [], "test": []}
    digests: dict[str, str] = {}
    shapes: list[tuple[dict[int, Shape], tuple[Structure, ...]]] = []
    for number, case in enumerate(case_set.cases):
        report(f"reading {case.id}", number / len(case_set.cases))
        scan = load_volume(case.image)
        marks = case_marks(case, scan)
        labels = scan.with_array(read_label_map(case, case_set, scan).astype(np.uint8))
        digests[case.id] = " ".join((*sorted(marks.scans), scan_digest(labels)))
        if marks.meets(seen.train | seen.before):
            parts["train"].append(case)
            shapes.append((label_shapes(labels), structures))
        else:
            parts["val" if marks.meets(seen.val) else "test"].append(case)
    if not parts["train"] or not parts["val"]:
        raise UserError(
            f'"{data}" holds {len(parts["train"])} cases that "{model.entry.id}" was trained on and'
            f" {len(parts['val'])} that it was chosen by, and both are needed; give the data of its"
            " training."
        )

    def subject(case: Case) -> Subject:
        def read() -> tuple[Volume, Array]:
            scan = load_volume(case.image)
            return scan, read_label_map(case, case_set, scan).astype(np.uint8)

        return Subject(case.id, case.group, read, digests[case.id])

    return Subjects(
        learn_norms(shapes, has_sides=model.anatomy is None),
        tuple(map(subject, parts["val"])),
        tuple(map(subject, parts["test"])),
    )
