"""Some of a model's structures, chosen by name or group: the others are left out of the result."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation, Structure, comparable_name

Value = TypeVar("Value")


def names_in(text: str) -> tuple[str, ...]:
    """The names of a list separated by commas. Raises `UserError` for an empty one."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(
            "The list of structures names none; give names or groups separated by commas."
        )
    return names


def names_of(structures: str | Sequence[str]) -> tuple[str, ...]:
    """Names given as a list, or as one text with commas; () for an empty list."""
    return names_in(structures) if isinstance(structures, str) else tuple(structures)


def check_names(names: Sequence[str], structures: Sequence[Structure]) -> None:
    """Raise `UserError` for a name that none of these structures answers to.

    The message lists what there is, the nearest first.
    """
    for name in names:
        if not _named(name, structures):
            raise UserError(
                f'The model has no structure or group "{name}"; it has'
                f" {_listed(_nearest_first(name, _words(structures)))}."
            )


def chosen_structures(
    names: Sequence[str], structures: Sequence[Structure]
) -> tuple[Structure, ...]:
    """The structures that any of the names stands for, in the model's order.

    A name is a structure's key or name, with a side or without one (then both sides are meant), or
    a group. Case, blanks and signs do not count. Names that stand for nothing here are passed over:
    the structures of a crop differ from those of a whole head. Raises `UserError` where nothing is
    left.
    """
    chosen = {s for name in names for s in _named(name, structures)}
    if not chosen:
        raise UserError(
            f"None of the structures asked for ({_listed(names)}) is looked for in this scan, which"
            f" has {_listed(_words(structures))}; ask for one of these."
        )
    return tuple(s for s in structures if s in chosen)


def only(segmentation: Segmentation, names: Sequence[str]) -> Segmentation:
    """A segmentation with the named structures alone; see `chosen_structures`.

    The intracranial volume stays that of the whole result.
    """
    kept = chosen_structures(names, segmentation.structures)
    values = np.zeros(256, np.uint8)
    values[[s.label for s in kept]] = [s.label for s in kept]
    probabilities = segmentation.probabilities
    if probabilities is not None:
        channels = [n for n, s in enumerate(segmentation.structures) if s in kept]
        probabilities = replace(probabilities, array=probabilities.array[channels])
    return replace(
        segmentation,
        labels=replace(segmentation.labels, array=values[segmentation.labels.array]),
        structures=kept,
        confidence=_of(kept, segmentation.confidence),
        expected_dice=_of(kept, segmentation.expected_dice),
        certainty=_of(kept, segmentation.certainty),
        quality=segmentation.quality and segmentation.quality.of(s.label for s in kept),
        probabilities=probabilities,
    )


def _of(structures: Sequence[Structure], values: dict[int, Value]) -> dict[int, Value]:
    """The values of some structures, by label, as far as they have one."""
    return {s.label: values[s.label] for s in structures if s.label in values}


def _named(name: str, structures: Sequence[Structure]) -> list[Structure]:
    wanted = comparable_name(name)
    return [s for s in structures if wanted and wanted in map(comparable_name, _answers_to(s))]


def _answers_to(structure: Structure) -> list[str]:
    """Every name that stands for a structure."""
    words = [structure.key, structure.name, structure.sideless_key, structure.group]
    first, _, rest = structure.name.partition(" ")
    if structure.side and first.lower() == structure.side:
        words.append(rest)
    return [word for word in words if word]


def _words(structures: Sequence[Structure]) -> list[str]:
    """What can be asked for, for a message: groups, names without side, and keys."""
    groups = dict.fromkeys(s.group for s in structures if s.group)
    sideless = dict.fromkeys(s.sideless_key for s in structures)
    keys = dict.fromkeys(s.key for s in structures)
    return [*groups, *(word for word in sideless if word not in keys), *keys]


def _nearest_first(name: str, words: Sequence[str]) -> list[str]:
    """The words, those that are spelt most like the name first."""

    def likeness(word: str) -> float:
        return difflib.SequenceMatcher(None, comparable_name(name), comparable_name(word)).ratio()

    return sorted(words, key=likeness, reverse=True)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def with_missing(segmentation: Segmentation) -> Segmentation:
    """The result of a model of whole scans, with a note on the structures that were not found."""
    confidence = segmentation.confidence
    missing = [s.name.lower() for s in segmentation.structures if math.isnan(confidence[s.label])]
    if not missing:
        return segmentation
    note = f"Not found in this scan: {', '.join(missing)}."
    return replace(segmentation, notes=(*segmentation.notes, note))
