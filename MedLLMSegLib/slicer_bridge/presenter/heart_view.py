"""What the panel says of a heart's function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .translation import _, isolated

if TYPE_CHECKING:  # numpy comes with it, and Slicer's start must not wait for it
    from MedLLMSegLib.metrics.heart_function import HeartFunction, Ventricle


def heart_text(function: HeartFunction, table: str) -> str:
    """The ejection fractions in a sentence, and where all figures are. table: the node's name."""
    return _(
        "Ejection fraction: left ventricle {left}, right ventricle {right}; all figures are in the"
        ' table "{table}".'
    ).format(left=_ejection(function.left), right=_ejection(function.right), table=isolated(table))


def _ejection(chamber: Ventricle) -> str:
    if not chamber.was_found:
        return _("not available")
    return f"{chamber.ejection_percent:.0f} %"
