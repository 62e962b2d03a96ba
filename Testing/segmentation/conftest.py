"""A head with an organ on either side."""

import numpy as np
import pytest

from MedLLMSegLib import Volume
from MedLLMSegLib.segmentation import cascade, precision
from MedLLMSegLib.segmentation.localize import Location
from Testing.helpers.grids import ellipsoid, make_grid
from Testing.helpers.precision_clock import Clock


@pytest.fixture
def head(monkeypatch):
    """A field of 140 mm with a bright ellipsoid on either side, and a localizer that is a few mm
    off.
    """
    grid = make_grid(
        order=(1, 0, 2), flips=(1, -1, 1), spacing=(1.0, 0.8, 1.5), field_mm=140.0, centre=(0, 0, 0)
    )
    places = {"left": (-28.0, -20.0, 4.0), "right": (30.0, -22.0, 2.0)}
    masks = {s: ellipsoid(grid, centre=c) for s, c in places.items()}
    locations = tuple(
        Location(s, tuple(np.array(c) + np.array([3, -4, 2])), 0.9, 3.0) for s, c in places.items()
    )
    monkeypatch.setattr(cascade, "localize", lambda *a: locations)
    return Volume((masks["left"] | masks["right"]) * 900.0 + 100, grid.ijk_to_ras, "head"), masks


@pytest.fixture
def precision_cache(monkeypatch, tmp_path):
    """Where decisions are kept; nothing is there yet."""
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision"


@pytest.fixture
def has_bf16(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)


@pytest.fixture
def clock(monkeypatch):
    """The processor time that the networks below take, in a clock that only they move."""
    clock = Clock()
    monkeypatch.setattr("time.process_time", lambda: clock.seconds)
    return clock
