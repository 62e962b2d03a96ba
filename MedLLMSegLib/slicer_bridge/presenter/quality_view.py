"""The traffic light in the panel: a coloured dot with its word, and the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .panel_texts import with_mark
from .translation import _

if TYPE_CHECKING:
    from MedLLMSegLib.core.quality import Quality, ScanQuality

MARKS = {"green": "done", "amber": "ask", "red": "failed"}  # seen on light and dark backgrounds
WORDS = {
    "green": _("Quality green: nothing unusual"),
    "amber": _("Quality amber: look closely"),
    "red": _("Quality red: do not rely on it"),
}


def quality_line(quality: ScanQuality) -> str:
    """The light of a scan as rich text: a coloured dot, the word for it, and the reasons."""
    return with_mark(light_text(quality.scan), MARKS[quality.scan.light])


def light_text(quality: Quality) -> str:
    """A light in words: "Quality amber: look closely (the expected Dice is 0.71)."."""
    word = WORDS[quality.light]
    return f"{word} ({'; '.join(quality.reasons)})." if quality.reasons else f"{word}."
