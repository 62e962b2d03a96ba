"""`Case` and `CaseSet`, and the checks that every source of cases has to pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import comparable_name

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One labelled scan.

    image, label: files. group: whose scan it is (a patient, a head); a group never crosses a split.
    """

    id: str
    image: Path
    label: Path
    group: str

    def sha256(self) -> str:
        """Of what its files hold, by which a training that goes on knows whether somebody has
        changed them.
        """
        found = hashlib.sha256()
        for path in (self.image, self.label):
            for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if each.is_file():
                    with open(each, "rb") as file:
                        while block := file.read(1 << 20):
                            found.update(block)
        return found.hexdigest()


@dataclass(frozen=True)
class CaseSet:
    """All labelled cases of one source.

    labels: label value (1, 2, ... without a gap) -> name of the structure; the background (0) is
    left out. splits: "train", "val" or "test" -> case ids, as far as the data states them; None if
    it states none.
    """

    source: Path
    cases: tuple[Case, ...]
    labels: dict[int, str]
    splits: dict[str, tuple[str, ...]] | None


def group_of(case_id: str) -> str:
    """The group a case belongs to by its id.

    Task04's crops hippocampus_(2k - 1) and hippocampus_2k are the two sides of one head, ACDC's
    patientNNN_frameNN are time points of one patient; any other case stands alone.
    """
    head = re.fullmatch(r"hippocampus_(\d+)", case_id)
    if head:
        return f"hippocampus head {(int(head[1]) + 1) // 2}"
    patient = re.fullmatch(r"(patient\d+)_frame\d+", case_id)
    return patient[1] if patient else case_id


def expand(entries: Iterable[str], groups: Mapping[str, str]) -> list[str]:
    """Case ids for the entries of a split, each a case id or the name of a group; unknown entries
    stay as they are.

    groups: case id -> group.
    """
    found = []
    for entry in map(str, entries):
        members = [case for case, group in groups.items() if group == entry]
        found += [entry] if entry in groups or not members else members
    return list(dict.fromkeys(found))


def checked(
    source: Path,
    cases: Sequence[Case],
    labels: Mapping[int, str],
    splits: Mapping[str, Iterable[str]] | None,
    splits_from: Path | None = None,
) -> CaseSet:
    """The `CaseSet` of what a source holds.

    splits: entries are case ids or groups. splits_from: the file that states them, for messages.
    Raises `UserError` for no case at all, an id used twice, label values with a gap, two structures
    of one name, a split that names an unknown case, and a group in two splits.
    """
    if not cases:
        raise UserError(
            f'There is no labelled case in "{source}"; add at least two images with label maps.'
        )
    groups = {case.id: case.group for case in cases}
    if len(groups) < len(cases):
        twice = next(
            case.id for n, case in enumerate(cases) if case.id in {c.id for c in cases[:n]}
        )
        raise UserError(
            f'"{source}" has two cases called "{twice}"; give each case an id of its own.'
        )
    if sorted(labels) != list(range(1, len(labels) + 1)):
        raise UserError(
            f'The label values of "{source}" are {_listed(sorted(labels)) or "missing"}, and 1, 2,'
            " 3 and so on without a gap are needed; renumber the structures in the label maps."
        )
    called: dict[str, str] = {}
    for name in labels.values():
        other = called.setdefault(comparable_name(name), name)
        if other is not name:
            raise UserError(
                f'"{source}" has the structures "{other}" and "{name}", whose names differ in signs'
                " at most; give each letters or digits of its own."
            )
    if splits is not None:
        splits = {name: tuple(expand(entries, groups)) for name, entries in splits.items()}
        _check_splits(splits, groups, splits_from or source)
    return CaseSet(source, tuple(cases), {value: labels[value] for value in sorted(labels)}, splits)


def _check_splits(
    splits: Mapping[str, tuple[str, ...]], groups: Mapping[str, str], source: Path
) -> None:
    place: dict[str, tuple[str, str]] = {}  # group -> (split, case)
    for name, ids in splits.items():
        for case in ids:
            if case not in groups:
                raise UserError(
                    f'"{source}" lists "{case}" under "{name}", and no labelled case or group has'
                    " that name; correct the list or add the case."
                )
            before, other = place.setdefault(groups[case], (name, case))
            if before != name:
                raise UserError(
                    f'The group "{groups[case]}" is in two splits of "{source}" ("{other}" in'
                    f' {before}, "{case}" in {name}), so what is learnt from it would be tested on'
                    " it; move it into one."
                )


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values[:8])) + (" ..." if len(values) > 8 else "")
