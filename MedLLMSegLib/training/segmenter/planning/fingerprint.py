"""What the training cases are like: sizes, spacings, intensities and structures. `plan.py` plans
from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, CaseSet, read_label_map
from MedLLMSegLib.registry.input_channels import InputChannel
from MedLLMSegLib.segmentation.prepare import whole_grid
from MedLLMSegLib.training.segmenter.samples.prepared_cases import read_image

THICK = 2.0  # from this ratio of coarsest to finest spacing on, a scan's own axes are kept
_PERCENTILES = (0.5, 50.0, 99.5)
# labelled voxels of a case whose intensities are looked at together with the other cases'
_POOLED = 10_000


class Percentiles(NamedTuple):
    """Of all voxels of a scan: the 0.5th, 50th and 99.5th."""

    low: float
    median: float
    high: float


class GreyStatistics(NamedTuple):
    """Of many voxels: the 0.5th and 99.5th percentile, mean and standard deviation."""

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class ChannelFingerprint:
    """The grey values of one of several images of a case: as `Fingerprint` has them of the first.

    name: of the image.
    """

    name: str
    intensities: tuple[Percentiles, ...]
    grey: GreyStatistics


@dataclass(frozen=True)
class CaseMeasurements:
    """One case. intensities: of each image. voxels_ml: of each label value. labelled: grey values
    (images, n) of some labelled voxels.
    """

    grid: Grid
    intensities: tuple[Percentiles, ...]
    voxels_ml: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class Fingerprint:
    """The training cases in figures.

    axes: along which sizes and spacings are given, "ras" or "scan" (see `preprocess.whole_grid`),
    in the order (k, j, i). anisotropy: coarsest spacing over finest, the median of the cases.
    spacing_mm, size_mm: medians. spacings_mm, sizes_vox: of each case, in the order of ``ids``.
    intensities: of each case, its 0.5th, 50th and 99.5th percentile. labels: value -> name.
    volumes_ml: value -> the structure's volume in each case, 0 where it is missing. grey: 0.5th and
    99.5th percentile, mean and standard deviation of the labelled voxels of all cases. channels:
    of cases with named images, each image's grey values; ``intensities`` and ``grey`` are then
    those of the first.
    """

    ids: tuple[str, ...]
    axes: str
    anisotropy: float
    spacing_mm: tuple[float, float, float]
    size_mm: tuple[float, float, float]
    spacings_mm: tuple[tuple[float, float, float], ...]
    sizes_vox: tuple[tuple[int, int, int], ...]
    intensities: tuple[Percentiles, ...]
    labels: dict[int, str]
    volumes_ml: dict[int, tuple[float, ...]]
    grey: GreyStatistics
    channels: tuple[ChannelFingerprint, ...] = ()

    def to_dict(self) -> dict:
        """Without the key "channels" where a case is one image, as in older versions."""
        return {name: value for name, value in asdict(self).items() if name != "channels" or value}


def fingerprint_of(
    cases: Sequence[Case],
    case_set: CaseSet,
    progress: Report | None = None,
    axes: str | None = None,
) -> Fingerprint:
    """Measure the training cases; all images and label maps are read once. axes: where they are not
    to be chosen.

    Raises `UserError` for an image or label map that cannot be used, and where no case has a
    labelled voxel.
    """
    if not cases:
        raise UserError("There is no case to train on; add labelled cases.")
    report = Progress.of(progress)
    images = tuple(map(InputChannel.named, case_set.channels))
    measured = []
    for n, case in enumerate(cases):
        report(f"looking at {case.id}", n / len(cases))
        measured.append(_measure_case(case, case_set, images))
    volumes = {
        value: tuple(round(float(m.voxels_ml[value]), 4) for m in measured)
        for value in case_set.labels
    }
    if not any(map(any, volumes.values())):
        raise UserError(
            f'None of the {len(cases)} training cases of "{case_set.source}" has a labelled voxel,'
            f' for example "{cases[0].label}" is empty; label the cases first.'
        )
    ratios = [max(m.grid.spacing_mm) / min(m.grid.spacing_mm) for m in measured]
    axes = axes or ("scan" if np.median(ratios) > THICK else "ras")
    spacings, extents = zip(*(_along(m.grid, axes) for m in measured), strict=True)
    labelled = np.concatenate([m.labelled for m in measured], axis=1)
    return Fingerprint(
        ids=tuple(case.id for case in cases),
        axes=axes,
        anisotropy=round(float(np.median(ratios)), 3),
        spacing_mm=_median(spacings),
        size_mm=_median(extents),
        spacings_mm=spacings,
        sizes_vox=tuple(_voxels(e, s) for e, s in zip(extents, spacings, strict=True)),
        intensities=tuple(m.intensities[0] for m in measured),
        labels=dict(case_set.labels),
        volumes_ml=volumes,
        grey=_grey(labelled[0]),
        channels=tuple(
            ChannelFingerprint(
                image.name, tuple(m.intensities[n] for m in measured), _grey(labelled[n])
            )
            for n, image in enumerate(images)
        ),
    )


def _measure_case(
    case: Case, case_set: CaseSet, images: Sequence[InputChannel]
) -> CaseMeasurements:
    image = read_image(case, case_set, images)
    labels = read_label_map(case, case_set, image)
    counts = np.bincount(labels.ravel(), minlength=max(case_set.labels) + 1)
    channels = image.array.reshape(-1, *labels.shape)  # (C, K, J, I)
    return CaseMeasurements(
        grid=image.grid,
        intensities=tuple(map(_intensities, channels)),
        voxels_ml=counts * image.grid.voxel_ml,
        labelled=_some(channels[:, labels > 0]),
    )


def _voxels(extent_mm: tuple[float, ...], spacing_mm: tuple[float, ...]) -> Triple:
    k, j, i = (round(e / s) for e, s in zip(extent_mm, spacing_mm, strict=True))
    return k, j, i


def _intensities(values: np.ndarray) -> Percentiles:
    low, median, high = np.percentile(values, _PERCENTILES)
    return Percentiles(_rounded(low), _rounded(median), _rounded(high))


def _some(values: np.ndarray) -> np.ndarray:
    """Enough of the voxels (images, n), so that no case counts for more than the others."""
    return (
        values
        if values.shape[1] <= _POOLED
        else np.random.default_rng(0).choice(values, _POOLED, replace=False, axis=1)
    )


def _grey(values: np.ndarray) -> GreyStatistics:
    low, high = np.percentile(values, (0.5, 99.5))
    mean, deviation = values.mean(dtype=float), values.std(dtype=float)
    return GreyStatistics(_rounded(low), _rounded(high), _rounded(mean), _rounded(deviation))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _along(grid: Grid, axes: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """A scan's spacing and extent (mm) along the axes (k, j, i) of the network's grid."""
    scan = Volume(np.empty(grid.shape, bool), grid.ijk_to_ras)
    ours, theirs = _directions(whole_grid(scan, max(grid.spacing_mm), axes)), _directions(grid)
    cosines = np.abs(ours.T @ theirs)  # (our axes, the scan's axes)
    order = max(permutations(range(3)), key=lambda p: sum(cosines[a, p[a]] for a in range(3)))
    k, j, i = order
    spacing, extent = grid.spacing_mm, grid.extent_mm
    return (
        (round(spacing[k], 4), round(spacing[j], 4), round(spacing[i], 4)),
        (round(extent[k], 3), round(extent[j], 3), round(extent[i], 3)),
    )


def _directions(grid: Grid) -> np.ndarray:
    """(3, 3), whose columns are the unit vectors of k, j and i in RAS."""
    steps = grid.ijk_to_ras[:3, :3]
    return (steps / np.linalg.norm(steps, axis=0))[:, ::-1]


def _median(triples: Sequence[tuple[float, ...]]) -> tuple[float, float, float]:
    k, j, i = (float(f"{v:.4g}") for v in np.median(triples, 0))
    return k, j, i


def fingerprint_table(fp: Fingerprint) -> str:
    """The fingerprint for the screen."""

    def line(name: str, text: str) -> str:
        return f"  {name:<24}{text}"

    sizes, spacings = np.array(fp.sizes_vox), np.array(fp.spacings_mm)
    along = {
        "scan": "slices, rows, columns of the scans",
        "ras": "inferior-superior, posterior-anterior, left-right",
    }[fp.axes]
    rows = [
        f"{len(fp.ids)} training cases (order of axes k x j x i: {along})",
        line(
            "size, voxels",
            f"{_triple(np.median(sizes, 0))} ({_triple(sizes.min(0))} to {_triple(sizes.max(0))})",
        ),
        line(
            "spacing, mm",
            f"{_triple(fp.spacing_mm)} ({_triple(spacings.min(0))} to {_triple(spacings.max(0))})",
        ),
        line("size, mm", _triple(fp.size_mm)),
        line("anisotropy", f"{fp.anisotropy:.3g}"),
    ]
    for about, intensities in (
        ((f"{channel.name}, ", channel.intensities) for channel in fp.channels)
        if fp.channels
        else (("", fp.intensities),)
    ):
        low, middle, high = (np.array(column) for column in zip(*intensities, strict=True))
        rows += [
            line(f"{about}darkest (0.5 %)", _range(low)),
            line(f"{about}median" if about else "median intensity", _range(middle)),
            line(f"{about}brightest" if about else "brightest (99.5 %)", _range(high)),
        ]
    for value, name in fp.labels.items():
        there = [v for v in fp.volumes_ml[value] if v]
        text = f"in {len(there)} of {len(fp.ids)} cases" + (
            f", {_range(np.array(there))} mL" if there else ": it cannot be learnt from these cases"
        )
        rows.append(line(f"{value} {name}"[:23], text))
    return "\n".join(rows)


def _triple(values) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _range(values: np.ndarray) -> str:
    """Median (least to greatest)."""
    return f"{np.median(values):.3g} ({values.min():.3g} to {values.max():.3g})"
