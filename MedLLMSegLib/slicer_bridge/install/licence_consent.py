"""Which licences Slicer's user has to accept before a model's first use. No Qt or MRML here.

The library refuses models whose bundle demands acceptance. Slicer's user is asked about every
licence that is not permissive, so that nobody trains, shares or sells from such a model without
having seen it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.registry.licences import accept_licence, licence_accepted

# The abbreviations in a licence's name, as Creative Commons and SPDX use them, and what they mean.
CONDITIONS = (
    ("SA", "share-alike"),
    ("NC", "non-commercial"),
    ("ND", "no derivatives"),
    ("A?GPL|LGPL", "copyleft"),
)


def conditions(licence: str) -> tuple[str, ...]:
    """What a licence restricts; () for a permissive one, and for one whose name does not say."""
    return tuple(
        condition
        for pattern, condition in CONDITIONS
        if re.search(rf"\b({pattern})\b", licence, re.IGNORECASE)
    )


def must_ask(entry: ModelEntry) -> bool:
    """Whether the user has yet to accept a model's licence on this computer."""
    needs_consent = entry.accept_licence or bool(conditions(entry.licence))
    return needs_consent and not licence_accepted(replace(entry, accept_licence=True))


def accept(entry: ModelEntry) -> None:
    """Remember that the user has accepted a model's licence."""
    accept_licence(entry)
