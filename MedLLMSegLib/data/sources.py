"""`read_cases`: labelled cases from a folder or a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.io.volume_files import load_volume

from .case import Case, CaseSet, check_cases, checked_splits
from .case_images import with_file_images
from .case_table import table_cases
from .channel_names import channel_names
from .decathlon import decathlon_cases, stated_channels, stated_labels, stated_splits
from .label_checks import whole_numbers
from .reference_labels import find_segmentations, is_segmentation, normalized_name, read_segments


def read_cases(source: PathLike, labels: Mapping[int, str] | None = None) -> CaseSet:
    """The labelled cases of a folder or table.

    source: one of
      a folder in the Decathlon's layout (imagesTr, labelsTr); a folder of Slicer's segmentations
      (NAME.seg.nrrd beside its volume NAME.nrrd, .nii.gz or .mha; or a subfolder for each case); a
      table (.csv) with the columns image, label, group and maybe split and id. Cases of several
      images have CASE_0000, CASE_0001 and so on in imagesTr, or columns such as image_ct and
      image_pet in a table; where dataset.json names several, one 4D file may hold them.
    In a folder, dataset.json may name the structures and splits.json may state the splits. labels:
    label value -> name of the structure, instead of the source's own. Where neither names any,
    segments have their own names, and the values of label maps are called label_1, label_2 and so
    on. Raises `UserError`.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise UserError(f'There is no file or folder "{source}"; check the path.')
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise UserError(
                f'"{source}" is not a table of cases (.csv); give a folder of labelled cases, or a'
                " CSV file with the columns image, label and group."
            )
        table = table_cases(source)
        cases, splits, stated_images = table.cases, table.splits, table.channels
        stated_names, stated_in = None, source
    else:
        cases, splits = _folder_cases(source), stated_splits(source)
        stated_names, stated_in = stated_labels(source), source / "splits.json"
        stated_images = stated_channels(source)
    names = labels or stated_names or (_names_in_files(cases) if cases else {})
    check_cases(source, cases, names)
    case_ids = checked_splits(splits, cases, stated_in)
    whole = with_file_images(cases, stated_images)
    images = channel_names(source, whole, stated_images)
    return CaseSet(source, whole, dict(sorted(names.items())), case_ids, images)


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


def _names_in_files(cases: list[Case]) -> dict[int, str]:
    """Label value -> name, as the label files themselves have it."""
    segmentations = [case for case in cases if is_segmentation(case.label)]
    if not segmentations:
        return {value: f"label_{value}" for value in _label_values(cases)}
    if len(segmentations) < len(cases):
        label_map = next(case for case in cases if case not in segmentations)
        raise UserError(
            f'"{segmentations[0].label}" names its structures and "{label_map.label}" only numbers'
            " them; name the structures of the numbers, or save all cases in one format."
        )
    names: dict[str, str] = {}
    for case in segmentations:
        for segment in read_segments(case.label):
            names.setdefault(normalized_name(segment.name), segment.name)
    return dict(enumerate(names.values(), start=1))


def _label_values(cases: list[Case]) -> list[int]:
    """All values but 0 in the label maps."""
    cases_with: dict[int, list[str]] = {}
    for case in cases:
        label_map = whole_numbers(load_volume(case.label).array, case.label)
        for value in np.unique(label_map).tolist():
            cases_with.setdefault(value, []).append(case.id)
    values = sorted(set(cases_with) - {0})
    if not values:
        raise UserError(
            f"The label maps of all {len(cases)} cases are empty; label at least two cases."
        )
    if values != list(range(1, len(values) + 1)):
        _refuse_rare_value(values, cases_with, len(cases))
    return values


def _refuse_rare_value(values: list[int], cases_with: dict[int, list[str]], count: int) -> None:
    """Raise `UserError` where a value of few cases makes the gap: it is likely a slip of the brush,
    not a way of numbering.
    """
    rarest = min(values, key=lambda value: len(cases_with[value]))
    if count >= 3 * len(cases_with[rarest]):
        raise UserError(
            f"The label value {rarest} is in {', '.join(cases_with[rarest][:3])} only, and the"
            f" values of all cases are {', '.join(map(str, values))}, where 1, 2, 3 and so on"
            " without a gap are needed; correct that label map."
        )
