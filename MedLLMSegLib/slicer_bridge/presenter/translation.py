"""`_()`: the panel's texts in the user's language inside Slicer, in English elsewhere; and names in
the middle of them.
"""

from __future__ import annotations

import unicodedata

try:
    from slicer.i18n import tr as _
except ImportError:  # not in Slicer's desktop

    def _(text: str) -> str:
        return text


__all__ = ["_", "isolated"]

RIGHT_TO_LEFT = ("R", "AL")  # Unicode's classes of Hebrew, and of Arabic and its relatives
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


def isolated(name: str) -> str:
    """A name for the middle of a sentence: one that runs from right to left does not turn the
    sentence around it.
    """
    if any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in name):
        return f"{FIRST_STRONG_ISOLATE}{name}{POP_ISOLATE}"
    return name
