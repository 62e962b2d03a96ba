"""One pass: the part of a scan that lies on a grid goes through the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.registry.segmenter_settings import window_for

from .clean import largest_component
from .domain_features import outline_features
from .inference import predict_scores
from .loaded_segmenter import SegmenterModel
from .prepare import Preparation, Restore, prepare
from .result_maps import OutputRequest
from .scores import Reading, Scores
from .uncertainty import make_views, mean_probabilities
from .way_back import reach_of


@dataclass(frozen=True, eq=False)
class Outline:
    """What the network said on a grid, and how that lies in the result.

    reading: of the network. kept: its scores on `way_back.crop`, or None. probabilities: float32
    [classes, k, j, i] on it, or None where nobody needs all of them. side: "left" or "right" of an
    organ that has one, else None. precision: "fp32" or "bf16", of the network. features: (F,) by
    which a scan of another domain is told, or None of a model that knows no domain.
    """

    way_back: Restore
    reading: Reading
    side: str | None = None
    kept: Scores | None = None
    probabilities: Array | None = None
    precision: str = FP32
    features: NDArray[np.float32] | None = None

    @cached_property
    def scores(self) -> Scores:
        """What the way back needs; made from the probabilities where those are all at hand."""
        if self.kept is not None:
            return self.kept
        values = torch.from_numpy(self.probabilities)
        return Scores.of_values(self.reading, values, reach_of(self.way_back))

    @cached_property
    def organ(self) -> NDArray[np.bool_]:
        """bool [k, j, i] on the grid: where one organ is more likely than background."""
        assert self.probabilities is not None
        organ: NDArray[np.bool_] = self.probabilities[0] < 0.5
        return organ

    @cached_property
    def organ_vox(self) -> NDArray[np.int_]:
        """(n, 3) indices k, j, i on the grid of the organ's largest part."""
        return np.argwhere(largest_component(self.organ))

    @property
    def confidence(self) -> float:
        """Mean probability of the winning class over the organ's voxels; 0 where there are none."""
        assert self.probabilities is not None
        if not self.organ.any():
            return 0.0
        return float(self.probabilities.max(axis=0)[self.organ].mean())


def outline(
    volume: Volume,
    model: SegmenterModel,
    grid: Grid,
    request: OutputRequest,
    progress: Progress,
    *,
    side: str | None = None,
    with_features: bool = True,
) -> Outline:
    """Prepare the scan on a grid, and predict.

    with_features: also see by what a scan of another domain is told, if the model knows its own.
    A right organ already lies mirrored on its grid. In a crop around one organ no view mirrors, as
    the network does not know mirrored organs.
    """
    array, way_in = prepare(volume, grid, *Preparation.from_settings(model.settings).scales)
    way_back = Restore(request.grid, way_in.crop)
    window = window_for(model.settings, way_back.crop.shape)
    precision = model.precision_for(array, window, progress).name
    features = outline_features(model, array) if with_features else None
    if model.anatomy is None and not request.needs_all_classes:
        scores = predict_scores(
            model.network,
            array,
            model.device,
            window,
            reading=model.reading,
            reach=reach_of(way_back),
            progress=progress,
            precision=precision,
        )
        return Outline(
            way_back, model.reading, side, kept=scores, precision=precision, features=features
        )
    flips = () if model.anatomy else model.settings.get("flips", ())
    probabilities = mean_probabilities(
        model.network,
        array,
        model.device,
        window,
        reading=model.reading,
        views=make_views(request.augment, array.shape[-3:], flips),
        progress=progress,
        precision=precision,
    )
    return Outline(
        way_back,
        model.reading,
        side,
        probabilities=probabilities,
        precision=precision,
        features=features,
    )
