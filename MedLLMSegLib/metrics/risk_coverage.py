"""Whether an uncertainty map marks the errors: areas under the risk-coverage curve.

Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array


@dataclass(frozen=True)
class RiskCoverage:
    """Areas under the risk-coverage curve, each 0 to 1; smaller is better.

    area: of the measured uncertainty. random: of an uninformative one, which is the error rate.
    best: of one that ranks all errors last.
    """

    area: float
    random: float
    best: float


def risk_coverage_area(uncertainty: Array, errors: Array) -> RiskCoverage:
    """The error rate among the most certain voxels, averaged over all shares of voxels.

    uncertainty: any shape, higher is less certain. errors: bool of the same shape, True where the
    prediction is wrong. Voxels of equal uncertainty count as being in random order, so that a
    constant map scores as random. All areas are NaN without voxels.
    """
    if uncertainty.shape != errors.shape:
        raise ValueError(
            f"uncertainty of shape {uncertainty.shape} and errors of shape {errors.shape} do not"
            " match"
        )
    count, wrong = errors.size, int(np.count_nonzero(errors))
    if not count:
        return RiskCoverage(area=float("nan"), random=float("nan"), best=float("nan"))
    levels, level_of = np.unique(uncertainty.ravel(), return_inverse=True)
    voxels_at = np.bincount(level_of, minlength=len(levels))
    errors_at = np.bincount(level_of, errors.ravel(), len(levels))
    covered = np.arange(1, count + 1)
    level_ends = np.concatenate([[0], np.cumsum(voxels_at)])
    errors_by_level = np.concatenate([[0], np.cumsum(errors_at)])
    # Between the ends of a level its errors are shared evenly: ties are in random order.
    expected_errors = np.interp(covered, level_ends, errors_by_level)
    fewest_errors = np.maximum(covered - (count - wrong), 0)
    return RiskCoverage(
        area=float((expected_errors / covered).mean()),
        random=wrong / count,
        best=float((fewest_errors / covered).mean()),
    )
