"""What the stored scores of a run say: which inserted clots are found, at which false calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.froc import allowed_false, found_at
from MedLLMSegLib.metrics.group_statistics import bootstrap_interval

from .study_names import BASELINE, SIDES

# False calls a scan, of which one side is looked at. None below 1: all copies of the scan share one
# background, so that one false call comes back in each.
POINTS = (1.0, 2.0, 4.0, 8.0)
DRAWS = 10_000


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of two, with the ends of its interval."""

    value: float
    low: float
    high: float


def runs_of(arm: str, study: Json) -> list[list[Json]]:
    """Seed -> the finished results of both sides; seeds of which a side is missing are left out."""
    seeds = [0] if arm == BASELINE else study["settings"]["seeds"]
    names = [[f"{arm}-{side}-{seed}" for side in SIDES] for seed in seeds]
    runs = study["runs"]
    return [[runs[n] for n in pair] for pair in names if all(n in runs for n in pair)]


def found(run: Json, false_calls: float | None = None) -> Array:
    """(lesions,) 1.0 where an inserted clot is called.

    false_calls: a scan, at most; None for the threshold that the run chose. Raises `ValueError`
    where more are allowed than were stored.
    """
    scores = [-np.inf if each["score"] is None else each["score"] for each in run["lesions"]]
    if false_calls is None:
        return (np.array(scores) > run["threshold"]).astype(float)
    stored, scans = len(run["false"]), run["test_scans"]
    if stored <= allowed_false(false_calls, scans) and stored < run["false_total"]:
        raise ValueError(
            f"{false_calls:g} false calls in each of {scans} scans are allowed, and only {stored}"
            f" of {run['false_total']} are stored"
        )
    return found_at(scores, run["false"], false_calls, scans)


def lesion_values(arm: str, study: Json, false_calls: float | None = None) -> Array:
    """(lesions of both sides,): the share of the seeds that find each; empty without a seed."""
    seeds = [
        np.concatenate([found(run, false_calls) for run in pair]) for pair in runs_of(arm, study)
    ]
    return np.mean(seeds, axis=0) if seeds else np.zeros(0)


def kinds(study: Json) -> Array:
    """(lesions of both sides,) of the same order; empty where no arm is finished."""
    for arm in (BASELINE, "cnn-lstm"):
        if pairs := runs_of(arm, study):
            return np.array([each["kind"] for run in pairs[0] for each in run["lesions"]])
    return np.array([])


def estimate(values: Array) -> Estimate:
    """Their mean, with a bootstrap over the lesions."""
    low, high = bootstrap_interval(values, repeats=DRAWS)
    return Estimate(float(values.mean()), low, high)


def stored_false(scans: int) -> int:
    """How many false calls of that many scans must be stored for all of `POINTS`."""
    return allowed_false(max(POINTS), scans) + 1


def silent_calls(run: Json) -> int:
    """Calls above the chosen threshold in the untouched part that is tested."""
    return int(run["silent_above"])


def false_calls(run: Json) -> float:
    """A scan with clots, at the chosen threshold."""
    return float(run["false_above"] / run["test_scans"])


def mean_curve(arm: str, study: Json, points: Sequence[float]) -> list[float]:
    """The sensitivity at numbers of false calls a scan, the mean of seeds and sides."""
    return [float(lesion_values(arm, study, point).mean()) for point in points]
