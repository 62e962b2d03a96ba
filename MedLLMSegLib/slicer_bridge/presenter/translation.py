"""`_()`: the panel's texts in the user's language inside Slicer, in English elsewhere."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:  # not in Slicer's desktop

    def _(text: str) -> str:
        return text


__all__ = ["_"]
