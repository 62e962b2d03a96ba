"""`read_cases`: labelled cases from wherever they lie."""
from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np

from ..errors import UserError
from ..files import load_volume
from .case import Case, CaseSet, checked
from .decathlon import decathlon_cases, stated_labels, stated_splits
from .labels import whole_numbers


def read_cases(source, labels: Mapping[int, str] | None = None) -> CaseSet:
    """The labelled cases of a folder or table.

    source: a folder in the Decathlon's layout (imagesTr, labelsTr; dataset.json names the structures and splits.json
    the splits where they are there).
    labels: label value -> name of the structure, over what the source states. Where neither says any, the label maps
    are read through and the names are label_1, label_2 and so on.
    Raises `UserError`.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise UserError(f'There is no file or folder "{source}"; check the path.')
    cases, splits = decathlon_cases(source), stated_splits(source)
    names = labels or stated_labels(source)
    if not names and cases:
        names = {value: f"label_{value}" for value in _values(cases)}
    return checked(source, cases, names or {}, splits, source / "splits.json")


def _values(cases: list[Case]) -> list[int]:
    """All values above 0 in the label maps."""
    found: set[int] = set()
    for case in cases:
        found |= set(np.unique(whole_numbers(load_volume(case.label).array, case.label)).tolist())
    if not found - {0}:
        raise UserError(f"All {len(cases)} label maps are empty; label at least two cases.")
    return sorted(found - {0})
