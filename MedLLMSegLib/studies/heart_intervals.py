"""Intervals of a heart's figures: how far the truth may be, from the errors on other people.

    python -m MedLLMSegLib.studies.heart_intervals runs/heart-val runs/heart \\
        --keep cardiac-cine-mr --about "patients of one hospital"

Each folder holds rows of `heart_figures`, of people that its model had not seen. Split-conformal
intervals of 90 % (`metrics.conformal`) are fitted on the people of all folders; whether they hold
is asked of each folder's people with the intervals of the other folders' people alone. The unit is
the person, who has one row. Ejection fractions and the wall's thickness get a margin, volumes and
the mass a factor, as the errors of large hearts are larger. With --keep they go into the bundle of
the model whose errors they are, with --about in words whose they are: `medllmseg heart` and the
panel show both.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.conformal import (
    LEVEL,
    Interval,
    absolute_interval,
    absolute_scores,
    conformal_quantile,
    coverage,
    relative_interval,
    relative_scores,
)
from MedLLMSegLib.metrics.heart_intervals import FIELD, HeartIntervals
from MedLLMSegLib.registry.bundle import rewrite_texts
from MedLLMSegLib.registry.catalogue import find_model, measured_model, read_metadata
from MedLLMSegLib.registry.own_figures import OWNER
from MedLLMSegLib.reporting.markdown import table

from .heart_figures import UNITS, unit_of

WALL_UNIT = UNITS["thickness"]  # of means over the wall, which nothing prints
RELATIVE = ("mL", "g")  # units of figures whose errors grow with them


def pairs(rows: Sequence[Json], name: str) -> np.ndarray:
    """(people, 2): found and by hand, of the people for whom both are there."""
    both = [(row["found"].get(name), row["by_hand"].get(name)) for row in rows]
    return np.array([pair for pair in both if None not in pair], float).reshape(-1, 2)


def quantile(rows: Sequence[Json], name: str, level: float = LEVEL) -> float:
    """A figure's conformal quantile: of relative errors (logarithms) or of absolute ones."""
    found, by_hand = pairs(rows, name).T
    scores = relative_scores if unit_of(name) in RELATIVE else absolute_scores
    return conformal_quantile(scores(found, by_hand), level)


def interval(value: float, reach: float, name: str) -> Interval:
    """The interval of a figure that was found. reach: its `quantile`."""
    make = relative_interval if unit_of(name) in RELATIVE else absolute_interval
    return make(value, reach)


def held(folders: Sequence[Sequence[Json]], name: str, level: float = LEVEL) -> float:
    """The share of people whose figure by hand lies in the interval that the people of the other
    folders give, over all folders.
    """
    intervals, true = [], []
    for number, rows in enumerate(folders):
        others = [row for n, each in enumerate(folders) if n != number for row in each]
        reach = quantile(others, name, level)
        for found, by_hand in pairs(rows, name):
            intervals.append(interval(found, reach, name))
            true.append(by_hand)
    return coverage(intervals, true)


def tables(folders: Sequence[Sequence[Json]], level: float = LEVEL) -> str:
    """A row for each figure: its interval from all people, and how often it holds."""
    everyone = [row for rows in folders for row in rows]
    body = []
    for name in everyone[0]["by_hand"]:
        people = len(pairs(everyone, name))
        if people:
            reach = quantile(everyone, name, level)
            share = f"{100 * held(folders, name, level):.0f} %"
            body.append([name, str(people), reach_text(reach, name), share])
    head = ["figure", "people", f"interval of {100 * level:.0f} %", "holds for, of people not used"]
    return table(head, body) + "\n"


def kept(folders: Sequence[Sequence[Json]], about: str, level: float = LEVEL) -> HeartIntervals:
    """The intervals of the figures that `medllmseg heart` prints, from all people. about: who they
    are, in words.
    """
    everyone = [row for rows in folders for row in rows]
    reaches = {
        name: quantile(everyone, name, level)
        for name in everyone[0]["by_hand"]
        if unit_of(name) != WALL_UNIT and len(pairs(everyone, name))
    }
    finite = {name: reach for name, reach in reaches.items() if math.isfinite(reach)}
    return HeartIntervals(
        {name: math.exp(r) for name, r in finite.items() if unit_of(name) in RELATIVE},
        {name: r for name, r in finite.items() if unit_of(name) not in RELATIVE},
        level,
        len(everyone),
        about,
    )


def keep(model: str, folders: Sequence[Sequence[Json]], about: str) -> Path:
    """Put the intervals into a model's bundle, bound to its hash; returns the bundle's folder.

    Raises `UserError` where a row was not measured with this very model, or a person is there
    twice.
    """
    folder = find_model(model).folder
    metadata = read_metadata(folder)
    owner = measured_model(metadata).sha256
    everyone = [row for rows in folders for row in rows]
    for row in everyone:
        if row.get("weights") != owner:
            raise UserError(
                f'The row of {row.get("patient", "a person")} was not measured with "{model}" as it'
                " is now; run heart_figures with it first."
            )
    twice = [name for name, n in Counter(row.get("patient") for row in everyone).items() if n > 1]
    if twice:
        raise UserError(f"{twice[0]} has two rows, and a person counts once; leave one folder out.")
    entry = {OWNER: owner, **kept(folders, about).to_dict()}
    return rewrite_texts(folder, {**metadata, FIELD: entry})


def reach_text(reach: float, name: str) -> str:
    """ "± 6.1 points" or "found / 1.21 to found x 1.21"."""
    if math.isinf(reach):
        return "too few people"
    unit = unit_of(name)
    if unit in RELATIVE:
        return f"found / {math.exp(reach):.2f} to found x {math.exp(reach):.2f}"
    return f"found ± {reach:.1f} {unit}"


def read_rows(folder: Path) -> list[Json]:
    """The rows that `heart_figures` left in a folder."""
    paths = sorted((folder / "rows").glob("*.json"))
    if not paths:
        raise UserError(
            f'"{folder}" holds no rows; give a folder that `heart_figures` has written.'
        )
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="results of heart_figures")
    parser.add_argument(
        "--keep", metavar="MODEL", help="write them into this model's bundle (an id or a folder)"
    )
    parser.add_argument("--about", metavar="TEXT", help="with --keep: whose errors they are")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        if len(options.folders) < 2:
            raise UserError(
                "One folder alone leaves nobody to ask whether the intervals hold; give two or"
                " more."
            )
        folders = [read_rows(folder) for folder in options.folders]
        if options.keep is not None:
            if not options.about:
                raise UserError("Say by --about whose errors these are; it is shown beside them.")
            print(f"kept in {keep(options.keep, folders, options.about)}")
    except UserError as error:
        print(f"heart_intervals: {error}", file=sys.stderr)
        return 2
    print(tables(folders))
    return 0


if __name__ == "__main__":
    sys.exit(main())
