"""Which models' licences are asked for before their first use in Slicer, and that it was done.
Neither Qt nor MRML here.

The library refuses models whose bundle demands acceptance. Slicer's user is asked for all that are
not permissive, so that nobody trains, shares or sells from such a model without having seen it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.registry.licences import accept_licence, licence_accepted

# What a licence's name says of its conditions, by the parts that Creative Commons and SPDX use.
CONDITIONS = (
    ("SA", "share-alike"),
    ("NC", "non-commercial"),
    ("ND", "no derivatives"),
    ("A?GPL|LGPL", "copyleft"),
)


def conditions(licence: str) -> tuple[str, ...]:
    """What a licence restricts, in words; () for a permissive one, and for one whose name says
    nothing.
    """
    return tuple(
        words for part, words in CONDITIONS if re.search(rf"\b({part})\b", licence, re.IGNORECASE)
    )


def must_ask(entry: ModelEntry) -> bool:
    """Whether the user has still to accept a model's licence on this computer."""
    asked = entry.accept_licence or bool(conditions(entry.licence))
    return asked and not licence_accepted(replace(entry, accept_licence=True))


def accept(entry: ModelEntry) -> None:
    """Remember that the user has accepted a model's licence."""
    accept_licence(entry)
