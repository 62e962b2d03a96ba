"""Labelled cases and sets of them, and the checks that every source of cases has to pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import comparable_name

SPLITS = ("train", "val", "test")
_BLOCK_BYTES = 1 << 20


class LabelledItem(Protocol):
    """What can be split: anything with an id, and the group (patient, head) it belongs to."""

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...


Item = TypeVar("Item", bound=LabelledItem)


@dataclass(frozen=True)
class Case:
    """One labelled scan.

    image, label: files. group: whose scan it is (a patient, a head); a group never crosses a split.
    channels: further images of the same patient, such as the PET of a CT. volumes: where all images
    lie in one file (4D), which then stands for each of them, their numbers in it; else ().
    """

    id: str
    image: Path
    label: Path
    group: str
    channels: tuple[Path, ...] = ()
    volumes: tuple[int, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of all images, the one on whose grid the labels lie first."""
        return (self.image, *self.channels)

    def sha256(self) -> str:
        """Of the contents of its files, so that a resumed training notices if they changed."""
        digest = hashlib.sha256()
        for path in dict.fromkeys((self.image, self.label, *self.channels)):
            for block in _blocks(path):
                digest.update(block)
        return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    """The contents of a file, or of all files of a folder in order of their names."""
    for file_path in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file_path.is_file():
            with open(file_path, "rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block


@dataclass(frozen=True)
class LabelledSet(Generic[Item]):
    """All labelled cases of one source.

    labels: 1, 2, ... without a gap -> name of the structure or class. splits: "train", "val" or
    "test" -> case ids, as far as the data states them; None if it states none.
    """

    source: Path
    cases: tuple[Item, ...]
    labels: dict[int, str]
    splits: dict[str, tuple[str, ...]] | None

    @property
    def assumption(self) -> str:
        """What is taken for granted of whose cases they are (`assumed_alone`)."""
        return assumed_alone((case.id, case.group) for case in self.cases)


def assumed_alone(cases: Iterable[tuple[str, str]]) -> str:
    """A sentence for cards and results where a case is taken for a patient of its own, as the data
    name nobody whose case it is; "" where all are named.

    cases: (id, group) of each. A group that is called like its case counts as named by nobody.
    """
    alone = [group == case_id for case_id, group in cases]
    if not any(alone):
        return ""
    if not all(alone):
        return (
            f"The data name no patient, or one called like the case, for {sum(alone)} of"
            f" {len(alone)} cases, so each of these was taken for a patient of its own: where it is"
            " one of the others, its cases may be on both sides of a split."
        )
    return (
        "The data name no patients, so each case was taken for a patient of its own: two cases of"
        " one patient may be on both sides of a split, and intervals too narrow."
    )


def patients_counted(assumption: str, cases: int, groups: int) -> bool:
    """Whether groups can be spoken of as patients: some were named.

    assumption: see `assumed_alone`. cases, groups: how many there are of each.
    """
    return not assumption or groups < cases


@dataclass(frozen=True)
class CaseSet(LabelledSet[Case]):
    """Scans with label maps.

    labels: value in the label maps -> structure, without background. channels: the names of the
    images of each case, in order; () where a case is one image.
    """

    channels: tuple[str, ...] = ()


def group_of(case_id: str) -> str:
    """The group a case belongs to, by its id.

    Task04's crops hippocampus_(2k - 1) and hippocampus_2k are the two sides of one head. ACDC's
    patientNNN_frameNN are time points of one patient. PATIENT_lidc2 (`data.lidc`) is a further
    series of PATIENT. Any other case is a group of its own.
    """
    head = re.fullmatch(r"hippocampus_(\d+)", case_id)
    if head:
        return f"hippocampus head {(int(head[1]) + 1) // 2}"
    patient = re.fullmatch(r"(patient\d+)_frame\d+", case_id)
    patient = patient or re.fullmatch(r"(.+)_lidc\d+", case_id)
    return patient[1] if patient else case_id


def expand_groups(entries: Iterable[str], groups: Mapping[str, str]) -> list[str]:
    """Case ids for the entries of a split, each a case id or the name of a group.

    groups: case id -> group. Unknown entries are kept as they are.
    """
    case_ids: list[str] = []
    for entry in map(str, entries):
        members = [case_id for case_id, group in groups.items() if group == entry]
        case_ids += [entry] if entry in groups or not members else members
    return list(dict.fromkeys(case_ids))


def check_cases(source: Path, cases: Sequence[LabelledItem], labels: Mapping[int, str]) -> None:
    """Check what a source holds.

    Raises `UserError` for no case at all, an id used twice, label values with a gap, and two
    structures of one name.
    """
    if not cases:
        raise UserError(
            f'There is no labelled case in "{source}"; add at least two images with label maps.'
        )
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise UserError(
                f'"{source}" has two cases called "{case.id}"; give each case an id of its own.'
            )
        seen.add(case.id)
    if sorted(labels) != list(range(1, len(labels) + 1)):
        raise UserError(
            f'The label values of "{source}" are {_listed(sorted(labels)) or "missing"}, and 1, 2,'
            " 3 and so on without a gap are needed; renumber the structures in the label maps."
        )
    seen_names: dict[str, str] = {}
    for name in labels.values():
        other = seen_names.setdefault(comparable_name(name), name)
        if other is not name:
            raise UserError(
                f'"{source}" has the structures "{other}" and "{name}", whose names differ only in'
                " punctuation; give each letters or digits of its own."
            )


def checked_splits(
    splits: Mapping[str, Iterable[str]] | None, cases: Sequence[LabelledItem], stated_in: Path
) -> dict[str, tuple[str, ...]] | None:
    """The splits as case ids; None without any.

    splits: name -> case ids or groups. stated_in: the file that states them, for messages. Raises
    `UserError` for a split that names an unknown case, and for a group in two splits.
    """
    if splits is None:
        return None
    groups = {case.id: case.group for case in cases}
    by_id = {name: tuple(expand_groups(entries, groups)) for name, entries in splits.items()}
    first_of: dict[str, tuple[str, str]] = {}  # group -> (split, case)
    for name, case_ids in by_id.items():
        for case_id in case_ids:
            if case_id not in groups:
                raise UserError(
                    f'"{stated_in}" lists "{case_id}" under "{name}", and no labelled case or group'
                    " has that name; correct the list or add the case."
                )
            other_split, other = first_of.setdefault(groups[case_id], (name, case_id))
            if other_split != name:
                raise UserError(
                    f'The group "{groups[case_id]}" is in two splits of "{stated_in}" ("{other}" in'
                    f' {other_split}, "{case_id}" in {name}), so what is learnt from it would be'
                    " tested on it; move it into one."
                )
    return by_id


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (" ..." if len(values) > 8 else "")
