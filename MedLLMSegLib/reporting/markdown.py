"""What the pages in docs/ are written with: a table, a difference with its sign, a p value."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)
    )


def signed(value: float, digits: int) -> str:
    """Rounded, always with its sign; no minus before a zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def p_value(value: float | None, name: str = "") -> str:
    """ "0.012" or "p = 0.012"; "< 0.001" below that, "-" for None."""
    if value is None:
        return "-"
    text = "< 0.001" if value < 0.001 else f"{value:.3f}"
    return text if not name else f"{name} {text}" if text.startswith("<") else f"{name} = {text}"
