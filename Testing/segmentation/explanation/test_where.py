"""Where evidence lies, in shares and in words."""

import numpy as np
import pytest

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.segmentation.explanation.where import whereabouts

SHAPE = (9, 9, 40)  # of 2 mm
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
REGION = np.zeros(SHAPE, bool)
REGION[3:6, 3:6, 2:5] = True


def evidence(inside, near, far):
    """Of so much in one voxel each; the near one is 8 mm away, the far one 40 mm."""
    values = np.zeros(SHAPE, np.float32)
    values[4, 4, 3], values[4, 4, 8], values[4, 4, 24] = inside, near, far
    return values


def test_shares_are_those_of_the_evidence():
    where = whereabouts(evidence(5, 3, 2), REGION, GRID)
    assert (where.inside, where.near, where.far) == pytest.approx((0.5, 0.3, 0.2))
    assert "50% of the evidence lies inside the structure, 30% within 10 mm" in where.sentence()
    assert where.volume_inside == pytest.approx(27 / REGION.size)


@pytest.mark.parametrize(
    "amounts, warned", (((1, 1, 3), True), ((0, 0, 1), True), ((1, 2, 2), False))
)
def test_a_map_that_lies_mostly_far_away_says_so(amounts, warned):
    warning = whereabouts(evidence(*amounts), REGION, GRID).warning()
    assert ("no reason to trust the outline" in warning) == warned
    assert bool(warning) == warned


def test_a_map_without_evidence_has_nothing_to_say():
    where = whereabouts(evidence(0, 0, 0), REGION, GRID)
    assert where.sentence() == where.warning() == ""
