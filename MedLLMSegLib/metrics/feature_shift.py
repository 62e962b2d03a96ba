"""How far two sets of features lie from each other: the maximum mean discrepancy, with a
permutation test over whole patients.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.types import Array

from .group_statistics import group_ids

PERMUTATIONS = 2000


@dataclass(frozen=True)
class Shift:
    """mmd2: squared maximum mean discrepancy, unbiased: about 0 for sets of one kind, and may be
    below. p: the share of the permutations that are as far apart, the observed one among them.
    """

    mmd2: float
    p: float
    permutations: int


def feature_shift(
    one: Array,
    other: Array,
    groups_one: Sequence[Hashable],
    groups_other: Sequence[Hashable],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Shift:
    """Of features (n, F) and (m, F), each scaled to variance 1 over both sets.

    A Gaussian kernel as wide as the median distance. Permuted are whole patients (no patient may be
    in both sets). Source: Gretton et al., A kernel two-sample test, JMLR 2012.
    """
    features = np.concatenate([one, other]).astype(np.float64)
    scaled = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9)
    kernel = _kernel(scaled)
    patients = group_ids(
        [*(f"a {group}" for group in groups_one), *(f"b {group}" for group in groups_other)]
    )
    inside = np.arange(len(features)) < len(one)
    observed = _mmd2(kernel, inside)
    of_patient = np.zeros(int(patients.max()) + 1, bool)
    of_patient[patients[inside]] = True
    rng, as_far = np.random.default_rng(seed), 1
    for _ in range(permutations):
        as_far += _mmd2(kernel, rng.permutation(of_patient)[patients]) >= observed
    return Shift(observed, as_far / (permutations + 1), permutations)


def _kernel(features: Array) -> NDArray[np.float64]:
    """(N, N), with zeros on the diagonal."""
    squares = (features**2).sum(1)
    distances2 = (squares[:, None] + squares[None] - 2 * features @ features.T).clip(0)
    pairs = distances2[np.triu_indices(len(features), 1)]
    kernel: NDArray[np.float64] = np.exp(-distances2 / max(float(np.median(pairs)), 1e-12))
    np.fill_diagonal(kernel, 0)
    return kernel


def _mmd2(kernel: Array, inside: Array) -> float:
    """kernel: (N, N), zero on its diagonal. inside: bool (N,), at least two of each kind."""
    n, m = int(inside.sum()), int((~inside).sum())
    if min(n, m) < 2:
        return -np.inf
    weights = inside.astype(np.float64)
    with_inside = kernel @ weights  # (N,) sums over the set inside
    within = float(with_inside @ weights)
    across = float(with_inside.sum() - within)
    beyond = float(kernel.sum()) - within - 2 * across
    return within / (n * (n - 1)) + beyond / (m * (m - 1)) - 2 * across / (n * m)
