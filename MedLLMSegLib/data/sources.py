"""`read_cases`: labelled cases from wherever they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume

from .case import Case, CaseSet, checked
from .case_table import table_cases
from .decathlon import decathlon_cases, stated_labels, stated_splits
from .label_checks import whole_numbers
from .reference_labels import find_segmentations, is_segmentation, read_segments, same_name


def read_cases(source, labels: Mapping[int, str] | None = None) -> CaseSet:
    """The labelled cases of a folder or table.

    source: one of
      a folder in the Decathlon's layout (imagesTr, labelsTr); a folder of Slicer's segmentations
      (NAME.seg.nrrd beside its volume NAME.nrrd, .nii.gz or .mha; or a subfolder for each case); a
      table (.csv) with the columns image, label, group and maybe split and id.
    In a folder, dataset.json names the structures and splits.json states the splits, where they are
    there. labels: label value -> name of the structure, over what the source states. Where neither
    says any, segments have their own names, and label maps are read through and their values called
    label_1, label_2 and so on. Raises `UserError`.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise UserError(f'There is no file or folder "{source}"; check the path.')
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise UserError(
                f'"{source}" is no table of cases (.csv); give a folder of labelled cases, or a CSV'
                " file with the columns image, label and group."
            )
        (cases, splits), names, stated_in = table_cases(source), None, source
    else:
        cases, splits = _folder_cases(source), stated_splits(source)
        names, stated_in = stated_labels(source), source / "splits.json"
    names = labels or names or (_names(cases) if cases else {})
    return checked(source, cases, names, splits, stated_in)


def _folder_cases(folder: Path) -> list[Case]:
    if (folder / "imagesTr").exists() or (folder / "labelsTr").exists():
        return decathlon_cases(folder)
    cases = find_segmentations(folder)
    if not cases:
        raise UserError(
            f'"{folder}" holds no labelled cases; put images into imagesTr and label maps of the'
            " same names into labelsTr, or Slicer segmentations NAME.seg.nrrd beside their volumes"
            " NAME.nrrd."
        )
    return cases


def _names(cases: list[Case]) -> dict[int, str]:
    """Label value -> name as the label files themselves have it."""
    slicers = [case for case in cases if is_segmentation(case.label)]
    if not slicers:
        return {value: f"label_{value}" for value in _values(cases)}
    if len(slicers) < len(cases):
        plain = next(case for case in cases if case not in slicers)
        raise UserError(
            f'"{slicers[0].label}" names its structures and "{plain.label}" only numbers them; name'
            " the structures of the numbers, or save all cases in one format."
        )
    found: dict[str, str] = {}
    for case in slicers:
        for segment in read_segments(case.label):
            found.setdefault(same_name(segment.name), segment.name)
    return dict(enumerate(found.values(), start=1))


def _values(cases: list[Case]) -> list[int]:
    """All values but 0 in the label maps."""
    where: dict[int, list[str]] = {}
    for case in cases:
        for value in np.unique(whole_numbers(load_volume(case.label).array, case.label)).tolist():
            where.setdefault(value, []).append(case.id)
    found = sorted(set(where) - {0})
    if not found:
        raise UserError(
            f"The label maps of all {len(cases)} cases are empty; label at least two cases."
        )
    odd = min(found, key=lambda value: len(where[value]))
    if found != list(range(1, len(found) + 1)) and len(cases) >= 3 * len(
        where[odd]
    ):  # a slip of the brush, not a way of numbering
        raise UserError(
            f"The label value {odd} is in {', '.join(where[odd][:3])} only, and the values of all"
            f" cases are {', '.join(map(str, found))}, where 1, 2, 3 and so on without a gap are"
            " needed; correct that label map."
        )
    return found
