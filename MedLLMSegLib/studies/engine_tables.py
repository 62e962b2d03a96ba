"""The tables of the study of engines, from the rows that were measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from MedLLMSegLib.core.processor import processor_name
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.reporting.markdown import signed, table

BASE = "torch fp32"  # what the other engines are compared with


def tables(rows: Sequence[Json]) -> str:
    """For each model a table with one row an arm."""
    parts = [f"Processor: {processor_name()}."]
    for model in dict.fromkeys(row["model"] for row in rows):
        arms = {
            arm: [row for row in rows if row["model"] == model and row["arm"] == arm]
            for arm in dict.fromkeys(row["arm"] for row in rows if row["model"] == model)
        }
        parts.append(f"`{model}`, {len(arms[BASE])} test cases:\n\n{_table(arms)}")
    return "\n\n".join(parts) + "\n"


HEAD = (
    "engine",
    "MB",
    "agreement, mean (least)",
    "Dice",
    "against torch fp32",
    "s, networks",
    "times as fast",
    "s, whole chain",
    "times as fast",
)


def _table(arms: Mapping[str, Sequence[Json]]) -> str:
    base = arms[BASE]
    return table(HEAD, [_cells(arm, rows, base) for arm, rows in arms.items()])


def _cells(arm: str, rows: Sequence[Json], base: Sequence[Json]) -> list[str]:
    def mean(of: Sequence[Json], name: str) -> float:
        return statistics.fmean(row[name] for row in of)

    def median(of: Sequence[Json], name: str) -> float:
        return statistics.median(row[name] for row in of)

    agreement = f"{mean(rows, 'agreement'):.4f} ({min(row['agreement'] for row in rows):.4f})"
    cells = [arm, f"{rows[0]['mb']:.1f}", agreement, f"{mean(rows, 'dice'):.4f}"]
    cells.append(signed(mean(rows, "dice") - mean(base, "dice"), 4))
    for name in ("network_s", "seconds"):
        own = median(rows, name)
        cells += [f"{own:.2f}", f"{median(base, name) / max(own, 1e-9):.2f}"]
    return cells
