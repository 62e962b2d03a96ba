"""Parts of the pages in docs/: a table, a difference with its sign, a p value."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def signed(value: float, digits: int) -> str:
    """Rounded, always with its sign; no minus before a zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def margin(value: float, digits: int) -> str:
    """A margin that an interval excludes, "±0.013"; rounded up, so that it is excluded still."""
    steps = round(abs(value) * 10**digits, 6)  # 0.3 * 10 is a little more than 3
    return f"±{math.ceil(steps) / 10**digits:.{digits}f}"


def p_value(value: float | None, name: str = "", error: float | None = None) -> str:
    """ "0.012", or with a name "p = 0.012"; "< 0.001" below that, "-" for None.

    error: its Monte-Carlo standard error, stated behind it: "0.012 ± 0.0004".
    """
    if value is None:
        return "-"
    is_tiny = value + 3 * (error or 0.0) < 0.001
    text = "< 0.001" if is_tiny else f"{value:.3f}"
    if error and not is_tiny:
        text += f" ± {_one_figure(error)}"
    if not name:
        return text
    return f"{name} {text}" if is_tiny else f"{name} = {text}"


def _one_figure(error: float) -> str:
    """An error of a p value with one significant figure, and not as 1e-05."""
    return "0.0001" if error < 1e-4 else f"{error:.1g}"
