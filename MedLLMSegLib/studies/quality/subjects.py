"""The scans that a model's quality is fitted and tested on, and the label maps that its norms are
learnt from: those of its training, those it was chosen by, and others.

A case is known by its digest (`registry.seen_cases`), whatever the splits of the data say today.
The whole brain's are synthesised heads, and brains with labels by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.brain import brain_label_table, is_whole_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, read_cases, read_label_map
from MedLLMSegLib.data.acdc import convert_acdc
from MedLLMSegLib.data.case_digest import case_marks
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes
from MedLLMSegLib.registry.catalogue import ModelEntry, read_metadata
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.quality.norms import Norms, learn_norms
from MedLLMSegLib.studies.brain_figures import (
    SYNTHETIC_SEED,
    VAL_SEED,
    oasis_scans,
    synthetic_head,
)
from MedLLMSegLib.training.synthesis.head_maps import (
    RIGHT,
    label_map_file,
    load_head_map,
    split_names,
)

from .measure import Subject

CONVERTED = "acdc"
BRAIN_VAL, BRAIN_TEST = 14, 5  # heads


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

    data: its labelled cases; ACDC as it is distributed is converted into ``folder``. Of a model of
    the whole brain the folder of all data, with brain_labelmaps and oasis_brains. Raises
    `UserError` where there are none to fit or to learn from.
    """
    report = Progress.of(progress)
    if is_whole_brain(model.structures):
        return _brain_subjects(data, report)
    if any(data.glob("*.h5")):
        data = convert_acdc(data, folder / CONVERTED)
    return _labelled_subjects(model, data, report)


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
    shapes: list[tuple[dict[int, Shape], tuple[Structure, ...]]] = []
    for number, case in enumerate(case_set.cases):
        report(f"reading {case.id}", number / len(case_set.cases))
        scan = load_volume(case.image)
        marks = case_marks(case, scan)
        if marks.meets(seen.train | seen.before):
            parts["train"].append(case)
            labels = read_label_map(case, case_set, scan)
            shapes.append((label_shapes(scan.with_array(labels.astype(np.uint8))), structures))
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

        return Subject(case.id, case.group, read)

    return Subjects(
        learn_norms(shapes, has_sides=model.anatomy is None),
        tuple(map(subject, parts["val"])),
        tuple(map(subject, parts["test"])),
    )


def has_training_data(entry: ModelEntry) -> bool:
    """Whether a bundle says what it was trained on, which a fit needs."""
    return SeenCases.of_bundle(read_metadata(entry.folder)).known


# ---- the whole brain ----


def _brain_subjects(data: Path, report: Progress) -> Subjects:
    maps = data / "brain_labelmaps"
    names = split_names(maps)
    norms = learn_norms(_brain_maps(maps, names["train"], report))
    oasis = [scan for scan in oasis_scans(data / "oasis_brains") if scan.name.endswith("as it is")]
    return Subjects(
        norms,
        tuple(_heads(maps, "val", VAL_SEED, BRAIN_VAL)),
        (
            *(Subject(scan.name, scan.person, scan.read) for scan in oasis),  # type: ignore[arg-type]
            *_heads(maps, "test", SYNTHETIC_SEED, BRAIN_TEST),
        ),
    )


def _brain_maps(
    folder: Path, names: list[str], report: Progress
) -> Iterator[tuple[dict[int, Shape], tuple[Structure, ...]]]:
    from MedLLMSegLib.anatomy.brain import brain_structures

    structures = brain_structures()
    for number, name in enumerate(names):
        report(f"reading {name}", number / len(names))
        head = load_head_map(label_map_file(folder, name))
        on_the_right = (head.sides == RIGHT).astype(np.intp)
        labels = brain_label_table()[head.structures, on_the_right].astype(np.uint8)
        yield label_shapes(Volume(labels, np.eye(4), name)), structures


def _heads(maps: Path, split: str, first_seed: int, count: int) -> Iterator[Subject]:
    import json

    names = json.loads((maps / "splits.json").read_text(encoding="utf-8"))[split]
    for number in range(count):
        name = names[number % len(names)]
        read = partial(synthetic_head, maps, name, first_seed + number)
        yield Subject(f"{split} {name} {number:02d}", name, read)
