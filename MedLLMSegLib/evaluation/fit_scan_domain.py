"""The reference of a segmenter's own domain, fitted and measured: by what a scan is told to be of
another one.

The scans that it was trained on are the reference. Those that it was chosen by set the threshold:
95 of 100 of them stay under it as they are and as other scanners might give them (`rescanning`).
Each is looked at as the pipeline looks at it: a crop around one organ whole, a whole
scan in the middle. Nothing of another domain takes part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import centred_grid, transform_points
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Json, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, read_cases, split_cases
from MedLLMSegLib.data.acdc import convert_acdc
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.registry.domain_reference import DomainReference, as_stored, write_domain
from MedLLMSegLib.registry.feature_reference import FeatureReference
from MedLLMSegLib.registry.segmenter_settings import window_for
from MedLLMSegLib.segmentation.domain_features import window_features
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.localize import is_crop
from MedLLMSegLib.segmentation.prepare import Preparation, prepare, whole_grid
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import upgrade_bundle

from .fit_domain import AS_IS, threshold_of, told_outside
from .rescanning import rescanned

COMPONENTS, AGAIN = 32, 3


@dataclass(frozen=True)
class ScanSets:
    """train, val: the model's own scans. test: own scans that took no part, maybe none. name: whose
    they are, for people.
    """

    train: Sequence[Path]
    val: Sequence[Path]
    test: Sequence[Path]
    name: str


def fit_segmenter_domain(
    model: str | Path,
    data: PathLike,
    others: Sequence[tuple[Path, str | None]] = (),
    *,
    command: str = "",
    device: str = "auto",
    progress: Report | None = None,
) -> Json:
    """Fit the reference, store it in the model's bundle, and return what was measured.

    data: the model's own labelled cases with their splits, or ACDC as it is distributed. others:
    folders or files of scans of other domains; their second entry is not used. command: that
    repeats it. Raises `UserError`; progress may raise `Cancelled`.
    """
    loaded, report = load_model(model, device, "fp32"), Progress.of(progress)
    if len(loaded.channels) > 1:
        raise UserError(
            f'"{loaded.entry.id}" takes several images of a patient, and a domain is told from one;'
            " choose another model."
        )
    scans = [(folder.name, _existing_scans(folder)) for folder, _split in others]
    with TemporaryDirectory() as scratch:
        own = _own_scans(Path(data), Path(scratch))
        looks = {
            name: scan_features(loaded, paths, report.part(*span))
            for name, paths, span in (
                ("train", own.train, (0.0, 0.6)),
                ("val", own.val, (0.6, 0.75)),
                ("test", own.test, (0.75, 0.9)),
            )
            if paths
        }
        looks["val again"] = rescanned_features(loaded, own.val)
    reference = as_stored(FeatureReference.fit(looks["train"], COMPONENTS))
    of_val, threshold = domain_threshold(reference, looks["val"], looks["val again"])
    figures = [told_outside("validation scans", AS_IS, of_val, threshold)]
    images = f"{len(own.train)} training scans of {own.name}"
    stored = DomainReference(reference, threshold, images)
    measured: Json = {"components": COMPONENTS, "figures": figures, "command": command}
    write_domain(loaded.entry.folder, stored, measured)  # whatever becomes of the others
    if "test" in looks:
        figures.append(
            told_outside("test scans", AS_IS, reference.distances(looks["test"]), threshold)
        )
    for name, paths in scans:
        features = scan_features(loaded, paths, report.part(0.9, 1.0))
        figures.append(told_outside(name, AS_IS, reference.distances(features), threshold))
    write_domain(loaded.entry.folder, stored, measured)
    if "chosen" in read_metadata(loaded.entry.folder):  # else its card is of another author
        upgrade_bundle(loaded.entry.folder)
    report("done", 1.0)
    return measured


def _own_scans(data: Path, scratch: Path) -> ScanSets:
    """The scans of each split. Raises `UserError` for data without them."""
    if data.is_dir() and any(data.glob("*.h5")):
        splits = split_cases(read_cases(convert_acdc(data, scratch / "acdc")))
    else:
        splits = split_cases(read_cases(data))
    paths = {name: _paths(cases) for name, cases in splits.items()}
    if len(paths["train"]) < 3 or not paths["val"]:
        raise UserError(
            f'"{data}" has {len(paths["train"])} scans to train on and {len(paths["val"])} to'
            " choose by, and at least 3 and 1 are needed for a reference; add scans."
        )
    return ScanSets(paths["train"], paths["val"], paths.get("test", []), data.name)


def _existing_scans(place: Path) -> list[Path]:
    """The scans of another domain. Raises `UserError` now, and not when all else is measured."""
    if not place.exists():
        raise UserError(f'There is no file or folder "{place}"; check the path.')
    return find_scans([place])


def _paths(cases: Iterable[Case]) -> list[Path]:
    return [case.image for case in cases]


def scan_features(
    model: SegmenterModel, scans: Sequence[Path], progress: Report | None = None
) -> NDArray[np.float32]:
    """(N, F) of N scan files, or of each image of a series."""
    report, rows = Progress.of(progress), []
    for number, path in enumerate(scans):
        report(f"features: {path.name}", number / len(scans))
        volume = load_volume(path)
        rows.append(volume_features(model, volume))
    return np.stack(rows)


def rescanned_features(model: SegmenterModel, scans: Sequence[Path]) -> NDArray[np.float32]:
    """(AGAIN, N, F) of scans as other scanners might give them."""
    volumes = [load_volume(path) for path in scans]
    rows = [
        [
            volume_features(model, rescanned(volume, (again, number)))
            for number, volume in enumerate(volumes)
        ]
        for again in range(AGAIN)
    ]
    return np.array(rows, np.float32)


def domain_threshold(
    reference: FeatureReference, plain: Array, again: Array
) -> tuple[NDArray[np.float64], float]:
    """(distances (N,) of the validation scans as they are, the threshold).

    plain: (N, F). again: (AGAIN, N, F), the same scans as other scanners might give them.
    """
    distances = [reference.distances(each) for each in (plain, *again)]
    return distances[0], threshold_of(distances)


def volume_features(model: SegmenterModel, volume: Volume) -> NDArray[np.float32]:
    """(F,) of one scan, as the pipeline looks at it. Raises `UserError` for another network.

    Of a model that looks at crops around an organ, a larger scan is looked at around its middle, in
    a crop as the pipeline would take.
    """
    if not isinstance(model.network, MedVisionLlama):
        raise UserError(
            f'The network of "{model.entry.id}" is not of a kind whose features tell a domain;'
            " choose one of MedVisionLlama's."
        )
    preparation = Preparation.from_settings(model.settings)
    grid = whole_grid(volume, preparation.spacing_mm, preparation.axes)
    if model.anatomy and not is_crop(volume):
        middle = transform_points(grid.ijk_to_ras, (np.array(grid.shape[::-1]) - 1) / 2)
        spacing_mm, shape = model.settings["spacing_mm"], tuple(model.settings["search_shape"])
        grid = centred_grid(tuple(middle), shape, spacing_mm)
    array, _way = prepare(volume, grid, *preparation.scales)
    k, j, i = array.shape
    window = window_for(model.settings, (k, j, i))
    return window_features(model.network, array, window, model.device)
