"""Where a model's own features lie on the images it knows, and how far others lie from there.

The distance is Mahalanobis's (Lee et al. 2018, arXiv 1807.03888, of one class). There are more
features than images, so the covariance is that of probabilistic principal components (Tipping and
Bishop 1999): the variances of the leading components, and one variance for all that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.types import Array

SMALLEST_SCALE = 1e-6  # of a feature that is the same in all images


@dataclass(frozen=True, eq=False)
class FeatureReference:
    """The distribution of F features over the images that a model knows.

    mean, scale: (F,) each feature's mean and deviation. basis: (R, F) the leading components of the
    scaled features, orthonormal. variances: (R,) along these. rest: the variance along each of the
    other F - R directions.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    basis: NDArray[np.float64]
    variances: NDArray[np.float64]
    rest: float

    def __post_init__(self) -> None:
        components, count = self.basis.shape
        shapes = (self.mean.shape, self.scale.shape, self.variances.shape)
        if shapes != ((count,), (count,), (components,)):
            raise ValueError(f"a reference of {count} features with parts of {shapes}")
        arrays = (self.mean, self.scale, self.basis, self.variances)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("a reference that holds numbers that are none")
        if not (self.rest > 0 and (self.scale > 0).all() and (self.variances > 0).all()):
            raise ValueError("a reference with a variance that is not above 0")

    @classmethod
    def fit(cls, features: Array, components: int) -> FeatureReference:
        """From features (N, F) of N images, at least 3. components: R, at most N / 4 and F - 1.

        Of more components than that, the images would leave too little beside them to tell how much
        is usual there.
        """
        count, width = features.shape
        kept = min(components, max(1, count // 4), width - 1)
        if count < 3 or kept < 1:
            raise ValueError(f"{count} images with {width} features make no reference")
        values = features.astype(np.float64)
        mean = values.mean(0)
        scale = np.maximum(values.std(0), SMALLEST_SCALE)
        _, singular, directions = np.linalg.svd((values - mean) / scale, full_matrices=False)
        variances = singular**2 / (count - 1)
        rest = max(float(variances[kept:].sum()) / (width - kept), SMALLEST_SCALE)
        leading = np.maximum(variances[:kept], rest)  # no direction may be narrower than the rest
        return cls(mean, scale, directions[:kept], leading, rest)

    def distances(self, features: Array) -> NDArray[np.float64]:
        """(N, F) -> (N,): 1 is the root mean square distance of the images that were fitted."""
        scaled = (features.astype(np.float64) - self.mean) / self.scale  # (N, F)
        along = scaled @ self.basis.T  # (N, R)
        inside = (along**2 / self.variances).sum(1)
        outside = ((scaled**2).sum(1) - (along**2).sum(1)).clip(0) / self.rest
        squared: NDArray[np.float64] = (inside + outside) / len(self.mean)
        return np.sqrt(squared)
