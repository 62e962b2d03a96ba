"""The rows of `brain_figures` -> the tables of docs/brain.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES, BrainStructure
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.group_statistics import summarize
from MedLLMSegLib.reporting.markdown import table as markdown_table
from MedLLMSegLib.segmentation.expected_dice import DiceLines, expected_dice

AS_IT_IS = "as it is"
DEEP_KEYS = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala")
VENTRICLE_KEYS = ("lateral_ventricle", "inferior_lateral_ventricle")
COMPARED_KEYS = (*DEEP_KEYS, *VENTRICLE_KEYS, "third_ventricle", "accumbens")  # volumes


def tables(rows: Sequence[Json], lines: DiceLines | None = None) -> str:
    """All tables for which there are rows. lines: of the model, see `expected_dice`."""
    parts = [*(make(rows) for make in TABLES), expectation_table(rows, lines or {})]
    return "\n\n".join(part for part in parts if part) + "\n"


def deep_dice(row: Json) -> float:
    """Mean Dice of the deep structures, left and right apart, that the labels have."""
    return mean_dice(row, numbers_of(DEEP_KEYS))


def mean_dice(row: Json, numbers: Sequence[int] | None = None) -> float:
    """Mean Dice of the numbers (None: all) that the labels have; NaN without any."""
    of = {int(number): value for number, value in row.get("dice", {}).items()}
    values = [of[n] for n in (of if numbers is None else numbers) if n in of]
    return float(np.mean(values)) if values else float("nan")


def numbers_of(keys: Sequence[str]) -> list[int]:
    """The labels of structures, both sides."""
    chosen = [structure for structure in BRAIN_STRUCTURES if structure.key in keys]
    return [n for s in chosen for n in dict.fromkeys((s.left, s.right))]


def with_interval(values: Sequence[float], people: Sequence[str], digits: int = 3) -> str:
    """Mean and 95 % interval over people."""
    found = summarize(values, people)
    return f"{found['mean']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def of_set(rows: Sequence[Json], name: str, condition: str | None = None) -> list[Json]:
    """The rows of a set, of one condition or (None) of all."""
    found = [row for row in rows if row["scan"].split("/")[0] == name]
    return [row for row in found if condition in (None, row["scan"].split("/")[2])]


# ---- the tables ----


def overlap_table(rows: Sequence[Json]) -> str:
    """Mean Dice of each set: deep structures, and all that the labels have."""
    lines = []
    for title, chosen in (
        ("OASIS, by hand", of_set(rows, "oasis", AS_IT_IS)),
        ("synthetic heads of the 3 test maps", of_set(rows, "synthetic")),
        ("elderly heads, T1, DLMUSE's labels", of_set(rows, "elderly", "T1")),
    ):
        if chosen:
            people = [row["person"] for row in chosen]
            deep, every = ([f(row) for row in chosen] for f in (deep_dice, mean_dice))
            lines.append(
                [title, str(len(chosen)), with_interval(deep, people), with_interval(every, people)]
            )
    header = ("images", "number", "12 deep structures", "all structures of the labels")
    return markdown_table(header, lines) if lines else ""


def structure_table(rows: Sequence[Json]) -> str:
    """Mean Dice of each structure by hand and on synthetic heads, both sides together."""
    sets = [of_set(rows, "oasis", AS_IT_IS), of_set(rows, "synthetic")]
    if not any(sets):
        return ""
    lines = []
    for structure in BRAIN_STRUCTURES:
        numbers = numbers_of((structure.key,))
        cells = [_cell(chosen, lambda row, n=numbers: mean_dice(row, n)) for chosen in sets]  # type: ignore[misc]
        lines.append([structure.name, *cells])
    return markdown_table(("structure", "OASIS, by hand", "synthetic heads"), lines)


def change_table(rows: Sequence[Json]) -> str:
    """What a change of the image does to the deep structures' Dice."""
    plain = {row["scan"].split("/")[1]: deep_dice(row) for row in of_set(rows, "oasis", AS_IT_IS)}
    conditions = dict.fromkeys(row["scan"].split("/")[2] for row in of_set(rows, "oasis"))
    lines = []
    for condition in sorted(set(conditions) - {AS_IT_IS}):
        chosen = [
            row for row in of_set(rows, "oasis", condition) if row["scan"].split("/")[1] in plain
        ]
        lost = [plain[row["scan"].split("/")[1]] - deep_dice(row) for row in chosen]
        people = [row["person"] for row in chosen]
        values = [deep_dice(row) for row in chosen]
        if lost:
            lines.append([condition, with_interval(values, people), with_interval(lost, people)])
    header = ("image", "12 deep structures", "lost")
    return markdown_table(header, lines) if lines else ""


def volume_table(rows: Sequence[Json]) -> str:
    """How far volumes are from those drawn by hand, in percent of them; and on synthetic heads,
    whose labels are what the model learnt to draw.

    Of synthetic heads the median, as a sliver of a structure has any error.
    """
    by_hand, synthetic = of_set(rows, "oasis", AS_IT_IS), of_set(rows, "synthetic")
    if not by_hand:
        return ""
    lines = []
    for structure in BRAIN_STRUCTURES:
        if structure.key in COMPARED_KEYS:
            errors = [_volume_error(row, structure) for row in by_hand]
            people = [row["person"] for row in by_hand]
            absolute = with_interval([abs(error) for error in errors], people, 1)
            drawn = [_volume_error(row, structure) for row in synthetic]
            known = [error for error in drawn if math.isfinite(error)]
            own = f"{statistics.median(known):+.1f}" if known else "-"
            lines.append([structure.name, absolute, with_interval(errors, people, 1), own])
    head = ("volume", "absolute error, %", "error, %", "median error of synthetic heads, %")
    return markdown_table(head, lines)


def repeat_table(rows: Sequence[Json]) -> str:
    """How much volumes of one person differ: two scans, and two contrasts."""
    lines = []
    for title, pairs in (
        ("two T1 scans of one person (OASIS)", _pairs(of_set(rows, "oasis", AS_IT_IS))),
        ("T1 and FLAIR of one person (elderly)", _pairs(of_set(rows, "elderly"))),
    ):
        numbers = numbers_of((*DEEP_KEYS, *VENTRICLE_KEYS))
        differences = [
            abs(a - b) / ((a + b) / 2) * 100
            for first, second in pairs
            for n in numbers
            if (a := first["volumes_ml"].get(str(n), 0.0))
            + (b := second["volumes_ml"].get(str(n), 0.0))
        ]
        if differences:
            quartile = np.percentile(differences, 75)
            median = f"{np.median(differences):.1f}"
            lines.append(
                [title, str(len(pairs)), median, f"{quartile:.1f}", f"{max(differences):.1f}"]
            )
    header = (
        "volumes of the 12 deep structures and 4 lateral ventricles",
        "people",
        "median difference, %",
        "75th percentile",
        "most",
    )
    return markdown_table(header, lines) if lines else ""


def side_table(rows: Sequence[Json]) -> str:
    """Whether left and right were taken for each other."""
    mixed = [row["mixed_percent"] for row in rows if "mixed_percent" in row]
    if not mixed:
        return ""
    swapped = sum(value > 50 for value in mixed)
    line = [
        str(len(mixed)),
        str(swapped),
        str(sum(value > 1 for value in mixed)),
        f"{max(mixed):.2f}",
    ]
    header = ("images", "sides swapped", "more than 1 % of voxels on the wrong side", "most, %")
    return markdown_table(header, [line])


def time_table(rows: Sequence[Json]) -> str:
    """Processor time of a scan."""
    lines = [
        [name, str(len(chosen)), f"{np.median([row['cpu_s'] for row in chosen]):.1f}"]
        for name in ("oasis", "synthetic", "elderly")
        if (chosen := of_set(rows, name))
    ]
    return markdown_table(("set", "scans", "processor time, s (median)"), lines) if lines else ""


def expectation_table(rows: Sequence[Json], lines: DiceLines) -> str:
    """The Dice that the model expects against the one it has, over structures of images."""
    found = []
    for title, chosen, numbers in (
        ("OASIS, by hand, 12 deep structures", of_set(rows, "oasis"), numbers_of(DEEP_KEYS)),
        ("synthetic heads, all structures", of_set(rows, "synthetic"), list(lines)),
    ):
        pairs = [pair for row in chosen for pair in _expected_and_true(row, lines, numbers)]
        if pairs:
            expected, true = np.array(pairs).T
            error = float(np.abs(expected - true).mean())
            means = [f"{value:.3f}" for value in (expected.mean(), true.mean(), error)]
            found.append([title, str(len(pairs)), *means])
    header = ("Dice of", "structures of images", "expected", "found", "mean absolute difference")
    return markdown_table(header, found) if found else ""


def _expected_and_true(
    row: Json, lines: DiceLines, numbers: Sequence[int]
) -> list[tuple[float, float]]:
    sure = {int(number): value for number, value in row.get("confidence", {}).items()}
    expected = expected_dice({n: sure[n] for n in numbers if n in sure}, lines)
    true = row.get("dice", {})
    return [(value, true[str(n)]) for n, value in expected.items() if str(n) in true]


TABLES: tuple[Callable[[Sequence[Json]], str], ...] = (
    overlap_table,
    structure_table,
    change_table,
    volume_table,
    repeat_table,
    side_table,
    time_table,
)


def _cell(rows: Sequence[Json], measure: Callable[[Json], float]) -> str:
    values = [measure(row) for row in rows]
    if not np.isfinite(values).any():
        return "no label"
    return with_interval(values, [row["person"] for row in rows])


def _volume_error(row: Json, structure: BrainStructure) -> float:
    """Percent of the true volume, both sides together."""
    numbers = [str(n) for n in numbers_of((structure.key,))]
    true = sum(row["true_ml"].get(n, 0.0) for n in numbers)
    found = sum(row["volumes_ml"].get(n, 0.0) for n in numbers)
    return 100 * (found - true) / true if true else float("nan")


def _pairs(rows: Sequence[Json]) -> list[tuple[Json, Json]]:
    """The two rows of each person who has two."""
    by_person: dict[str, list[Json]] = {}
    for row in rows:
        by_person.setdefault(row["person"], []).append(row)
    return [(two[0], two[1]) for two in by_person.values() if len(two) == 2]
