"""Parts of the pages in docs/: a table, a difference with its sign, a p value."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def signed(value: float, digits: int) -> str:
    """Rounded, always with its sign; no minus before a zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def p_value(value: float | None, name: str = "") -> str:
    """ "0.012", or with a name "p = 0.012"; "< 0.001" below that, "-" for None."""
    if value is None:
        return "-"
    is_tiny = value < 0.001
    text = "< 0.001" if is_tiny else f"{value:.3f}"
    if not name:
        return text
    return f"{name} {text}" if is_tiny else f"{name} = {text}"
