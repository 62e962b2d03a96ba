"""The tables of docs/explain.md, from the rows that were measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.studies.study.page import mean_text

from .measured_maps import BORDER, INSIDE, RANDOM

RIVALS = (RANDOM, INSIDE, BORDER)


def tables(rows: Sequence[Json]) -> str:
    """For each model: areas of all maps, how much better each is than its rivals, and what is left
    of the maps when weights are shuffled. Intervals are over people.
    """
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n".join(_of_model([row for row in rows if row["model"] == name]) for name in models)


def _of_model(rows: Sequence[Json]) -> str:
    first = rows[0]
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    people = len({row["person"] for row in rows})
    blocks = [
        f"### {first['model']}, {first['split']}: {', '.join(structures)}, {people} people",
        _areas(rows),
    ]
    if "correlation" in first:
        blocks += [_better(rows), _shuffled(rows), _where(rows)]
    return "\n\n".join(blocks) + "\n"


def _areas(rows: Sequence[Json]) -> str:
    def of(name: str, curve: str) -> np.ndarray:
        return np.array([np.mean(row["maps"][name][curve]) for row in rows])

    def difference(name: str) -> np.ndarray:
        return of(name, "insertion") - of(name, "deletion")

    names = sorted(rows[0]["maps"], key=lambda name: -float(difference(name).mean()))
    body = [
        [
            name,
            _over_people(of(name, "insertion"), rows),
            _over_people(of(name, "deletion"), rows),
            _over_people(difference(name), rows, has_sign=True),
        ]
        for name in names
    ]
    plain = (
        f"The structure's probability is {np.mean([row['as it is'] for row in rows]):.3f} in the"
        f" scan and {np.mean([row['hidden'] for row in rows]):.3f} where all is hidden."
    )
    head = ["map", "insertion (higher is better)", "deletion (lower is better)", "difference"]
    return f"{table(head, body)}\n\n{plain}"


def _better(rows: Sequence[Json]) -> str:
    """Paired: the map's difference of the areas less that of each rival."""
    own = next(name for name in rows[0]["maps"] if name not in RIVALS)

    def gain(row: Json, name: str) -> float:
        curves = row["maps"][name]
        return float(np.mean(curves["insertion"]) - np.mean(curves["deletion"]))

    body = [
        [
            rival,
            _over_people(
                np.array([gain(r, own) - gain(r, rival) for r in rows]), rows, has_sign=True
            ),
            f"{sum(gain(r, own) > gain(r, rival) for r in rows)} of {len(rows)}",
        ]
        for rival in RIVALS
    ]
    return table([f"{own} against", "better by", "better in"], body)


def _shuffled(rows: Sequence[Json]) -> str:
    names = list(rows[0]["correlation"])
    body = [
        [name, _over_people(np.array([r["correlation"][name] for r in rows]), rows, has_sign=True)]
        for name in names
    ]
    return table(["rank correlation of the map with that of", "Spearman"], body)


def _where(rows: Sequence[Json]) -> str:
    shares = {
        "inside": ("inside", "volume_inside"),
        "within 10 mm around": ("near", "volume_near"),
    }
    body = []
    for name, (evidence, volume) in shares.items():
        found = np.array([r["where"][evidence] or 0.0 for r in rows])
        even = np.array([r["where"][volume] for r in rows])
        body.append([name, f"{found.mean():.0%}", f"{even.mean():.0%}"])
    return table(["place", "evidence", "an even map"], body)


def _over_people(values: np.ndarray, rows: Sequence[Json], has_sign: bool = False) -> str:
    """The mean and its interval over people."""
    return mean_text(values, 3, [row["person"] for row in rows], has_sign)
