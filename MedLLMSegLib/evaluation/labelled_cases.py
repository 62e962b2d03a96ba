"""The labelled cases that a model is measured on, and their label maps with the model's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.numberings import Numbering
from MedLLMSegLib.anatomy.structures import SYNONYMS
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Structure, comparable_name
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import (
    Case,
    CaseSet,
    channel_names,
    choose_cases,
    decathlon_case,
    listed_ids,
    read_cases,
    read_label_map,
    read_labels,
    stated_channels,
    stated_labels,
)
from MedLLMSegLib.data.case_images import with_file_images
from MedLLMSegLib.data.reference_labels import is_segmentation

from .brain_cases import brain_cases
from .brain_numbers import chosen_numbering, to_freesurfer


@dataclass(frozen=True, eq=False)
class LabelledCases:
    """The cases to measure.

    names: label value -> structure, as far as the source says. values_have_meaning: False for
    Slicer's segmentations, where only the names identify a structure. case_set: the source's own
    description; None for a folder in the Decathlon's layout, of which only the wanted cases are
    read. numbering: of label maps of the brain, which are read with FreeSurfer's numbers instead.
    channels: the names of each case's images; () where it is one.
    """

    cases: tuple[Case, ...]
    names: dict[int, str]
    values_have_meaning: bool = True
    case_set: CaseSet | None = None
    numbering: Numbering | None = None
    channels: tuple[str, ...] = ()

    def truth(self, case: Case, image: Volume) -> Array:
        """The label map of a case as integers [k, j, i], with the source's values; of a brain in
        another numbering with FreeSurfer's.

        Raises `UserError` unless it lies on the image's grid, and for a number that the numbering
        does not have.
        """
        if self.numbering is not None:
            return to_freesurfer(read_labels(case.label, image), self.numbering, image.spacing_mm)
        if self.case_set is None:
            return read_labels(case.label, image)
        return read_label_map(case, self.case_set, image)


def labelled_cases(
    data: Path, cases: PathLike | Sequence[str] | None = None, numbering: str | None = None
) -> LabelledCases:
    """The cases to measure: those named, else the data's "test" split, else all.

    cases: a text file with one id a line, or a list of ids. numbering: a key of
    `anatomy.numberings.NUMBERINGS`, for label maps of the brain; None takes that of the data's
    labels.json, if it has one.
    """
    brain_numbering = chosen_numbering(numbering, data)
    if brain_numbering is not None:
        return LabelledCases(brain_cases(data, cases), {}, numbering=brain_numbering)
    if any((data / folder).is_dir() for folder in ("imagesTr", "labelsTr")):
        return _decathlon_cases(data, cases)
    case_set = read_cases(data)
    by_id = {case.id: case for case in case_set.cases}
    if cases is not None:
        wanted = listed_ids(cases)
    else:
        wanted = list((case_set.splits or {}).get("test") or by_id)
    unknown = [case_id for case_id in wanted if case_id not in by_id]
    if unknown:
        raise UserError(f'There is no case "{unknown[0]}" in "{data}"; correct the list of cases.')
    if not wanted:
        raise UserError("There is no case in the list of cases; name at least one.")
    return LabelledCases(
        cases=tuple(by_id[case_id] for case_id in dict.fromkeys(wanted)),
        names=case_set.labels,
        values_have_meaning=not any(is_segmentation(case.label) for case in case_set.cases),
        case_set=case_set,
        channels=case_set.channels,
    )


def _decathlon_cases(data: Path, cases: PathLike | Sequence[str] | None) -> LabelledCases:
    """Only the wanted cases need to exist and be readable; the model knows the structures."""
    chosen = tuple(decathlon_case(data, case_id) for case_id in choose_cases(data, cases))
    stated = stated_channels(data)
    chosen = with_file_images(chosen, stated)
    names = channel_names(data, chosen, stated)
    return LabelledCases(chosen, stated_labels(data) or {}, channels=names)


def with_model_values(
    truth: Array, case_id: str, labelled: LabelledCases, structures: Sequence[Structure]
) -> Array:
    """A case's truth with the label values of the model's structures.

    Where the source names its structures as the model does (key, name or a synonym), the names
    decide; else the values do. Raises `UserError` for labels that the model does not know, and
    where only some of the names are the model's.
    """
    present = [int(value) for value in np.unique(truth) if value]
    model_value = _values_by_name(structures)
    new_values = {
        value: model_value[name]
        for value in present
        if (name := comparable_name(labelled.names.get(value, ""))) in model_value
    }
    by_value = labelled.values_have_meaning and not new_values
    known = {structure.label for structure in structures} if by_value else set(new_values)
    unknown = [value for value in present if value not in known]
    if unknown:
        stated = ", ".join(f"{s.label} {s.name}" for s in structures)
        names = ", ".join(labelled.names.get(value, "unnamed") for value in unknown)
        raise UserError(
            f'The label map of "{case_id}" has the labels {unknown}'
            f"{'' if by_value else f' ({names})'}, and the model knows"
            f" {stated}; change the labels, or leave the case out."
        )
    if all(value == new_value for value, new_value in new_values.items()):
        return truth  # also where the values decide
    renamed = np.zeros_like(truth)
    for value, new_value in new_values.items():
        renamed[truth == value] = new_value
    return renamed


def _values_by_name(structures: Sequence[Structure]) -> dict[str, int]:
    """Every comparable name of each structure -> its label value."""
    return {
        comparable_name(name): structure.label
        for structure in structures
        for name in (structure.key, structure.name, *SYNONYMS.get(structure.key, ()))
    }
