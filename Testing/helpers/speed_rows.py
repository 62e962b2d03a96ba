"""Rows of the table of speed that cost little, and burn a known amount of processor time."""

import time

import numpy as np

from MedLLMSegLib.studies.speed.row import OURS, NotMeasured, Row, Run

MEGABYTES = 48


def burn(seconds):
    """Compute for some seconds of processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def burning(seconds):
    return lambda setting: Run(lambda: burn(seconds))


def burning_row(ours=0.02, theirs=0.04, **more):
    return Row("burning", "burns", {OURS: burning(ours), "theirs": burning(theirs)}, **more)


def missing(setting):
    raise NotMeasured("it is not here")


def holding(setting):
    return Run(lambda: np.ones(MEGABYTES << 20, np.uint8).sum())


def nothing(setting):
    return Run(lambda: None)


ROWS = (
    burning_row(aim="0.5 of theirs", memory=False, facts=lambda setting: {"voxels": 12345}),
    Row("absent", "is not here", {OURS: missing}, aim="none"),
    Row("holds", "holds memory", {OURS: holding, "base": nothing}, beside="base", rounds=1),
    Row(
        "growth-burns",
        "grows",
        {"10^3": burning(0.01), "20^3": burning(0.08)},
        voxels={"10^3": 1000, "20^3": 8000},
        memory=False,
    ),
    Row("large-one", "is large", {OURS: nothing}, large=True),
)
