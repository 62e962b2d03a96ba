"""Which cases a model has seen, by short digests in its bundle's metadata (no torch, no numpy).

A digest stands for the decoded image (`data.case_digest`), not for a name or a file: a scan that
was renamed or saved in another format is recognised. A person is recognised by the name that the
data give, where they give one. The metadata's field "seen":

    {"train": {"scans": [16 hex digits ...], "persons": [...]},
     "val": {...},       chose the weights, the temperature and the cleaning
     "before": {...},    what the model saw that this one was started from
     "complete": true}   false: started from a model of which it is not known

A bundle without the field does not say what it has seen, and of no case can then be said that it
took no part in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json

FIELD = "seen"
PARTS = ("train", "val", "before")


@dataclass(frozen=True)
class Marks:
    """What cases are recognised by. scans, persons: digests of 16 hex digits."""

    scans: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()

    def __or__(self, other: Marks) -> Marks:
        return Marks(self.scans | other.scans, self.persons | other.persons)

    def meets(self, other: Marks) -> bool:
        """Whether a scan or a person is in both."""
        return bool(self.scans & other.scans or self.persons & other.persons)

    def to_dict(self) -> Json:
        """As in the metadata, sorted."""
        return {"scans": sorted(self.scans), "persons": sorted(self.persons)}

    @classmethod
    def from_dict(cls, data: Json) -> Marks:
        """The inverse of `to_dict`. Raises `KeyError` or `TypeError` for anything else."""
        return cls(frozenset(map(str, data["scans"])), frozenset(map(str, data["persons"])))

    @classmethod
    def of_all(cls, marks: Iterable[Marks]) -> Marks:
        """Of several cases together."""
        total = cls()
        for each in marks:
            total |= each
        return total


@dataclass(frozen=True)
class SeenCases:
    """The cases that a model's weights were trained on or chosen by.

    known: whether all of them are listed.
    """

    train: Marks = field(default_factory=Marks)
    val: Marks = field(default_factory=Marks)
    before: Marks = field(default_factory=Marks)
    known: bool = False

    @property
    def all(self) -> Marks:
        """Whatever was seen, in whichever part."""
        return self.train | self.val | self.before

    @classmethod
    def of_bundle(cls, metadata: Json) -> SeenCases:
        """What a bundle's metadata state. Raises `UserError` for a damaged list."""
        stated = metadata.get(FIELD)
        if stated is None:
            return cls()
        try:
            parts = {name: Marks.from_dict(stated[name]) for name in PARTS}
            return cls(**parts, known=stated["complete"] is True)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f'The list of seen cases of the model "{metadata.get("id")}" is damaged; install'
                " it again."
            ) from error

    def to_dict(self) -> Json:
        """As in the metadata."""
        parts = {name: getattr(self, name).to_dict() for name in PARTS}
        return {**parts, "complete": self.known}

    def among(self, measured: Mapping[str, Marks]) -> list[str]:
        """Those of the measured cases that were seen, sorted by id. measured: by a case's id."""
        seen = self.all
        return sorted(case_id for case_id, marks in measured.items() if marks.meets(seen))


def started_from(base: SeenCases | None, val: Marks = Marks()) -> SeenCases:
    """What a new training has seen before it begins. base: of the model it starts from; None where
    it starts from nothing. val: what it chooses by: those of them that the base was chosen by, too,
    and never trained on, stay cases to choose and to calibrate by.
    """
    if base is None:
        return SeenCases(known=True)
    chosen_by = Marks(base.val.scans - val.scans, base.val.persons - val.persons)
    return SeenCases(before=base.train | base.before | chosen_by, known=base.known)
