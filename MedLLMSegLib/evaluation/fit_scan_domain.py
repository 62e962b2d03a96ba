"""The reference of a segmenter's own domain, fitted and measured: by what a scan is told to be of
another one.

The scans that it was trained on are the reference. Those that it was chosen by set the threshold:
95 of 100 of them stay under it as they are and as other scanners might give them (`rescanning`).
Each is looked at as the pipeline looks at it: a crop around one organ whole, a whole
scan in the middle. A model of the whole brain has heads in their place that are synthesised from
its label maps (`synthetic_looks`). Nothing of another domain takes part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.anatomy.brain import is_whole_brain
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
from MedLLMSegLib.registry.segmenter_settings import domain_window
from MedLLMSegLib.segmentation.domain_features import window_features
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.localize import is_crop
from MedLLMSegLib.segmentation.outlines import in_body_order, outlines_of
from MedLLMSegLib.segmentation.prepare import Preparation, prepare, whole_grid
from MedLLMSegLib.segmentation.result_maps import OutputRequest
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import upgrade_bundle

from .fit_domain import AS_IS, threshold_of, told_outside
from .rescanning import rescanned
from .synthetic_looks import HEADS, synthetic_features

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

    data: the model's own labelled cases with their splits, ACDC as it is distributed, or the label
    maps that a model of the whole brain was trained on. others:
    folders or files of scans of other domains; their second entry is not used. command: that
    repeats it. Raises `UserError`; progress may raise `Cancelled`.
    """
    loaded, report = load_model(model, device, "fp32"), Progress.of(progress)
    if len(loaded.channels) > 1:
        raise UserError(
            f'"{loaded.entry.id}" takes several images of a patient, and a domain is told from one;'
            " choose another model."
        )
    if not isinstance(loaded.network, MedVisionLlama):
        raise UserError(
            f'The network of "{loaded.entry.id}" is not of a kind whose features tell a domain;'
            " choose one of MedVisionLlama's."
        )
    scans = [(folder.name, _existing_scans(folder)) for folder, _split in others]
    if is_whole_brain(loaded.structures):
        own = _synthesised(loaded, Path(data), report.part(0.0, 0.9))
    else:
        own = _scanned(loaded, Path(data), report.part(0.0, 0.9))
    reference = as_stored(FeatureReference.fit(own.train, COMPONENTS))
    of_val, threshold = domain_threshold(reference, own.val, own.val_again)
    figures = [told_outside(f"validation {own.what}", AS_IS, of_val, threshold)]
    stored = DomainReference(reference, threshold, own.images)
    measured: Json = {"components": COMPONENTS, "figures": figures, "command": command}
    write_domain(loaded.entry.folder, stored, measured)  # whatever becomes of the others
    if len(own.test):
        of_test = reference.distances(own.test)
        figures.append(told_outside(f"test {own.what}", AS_IS, of_test, threshold))
    seeing = replace(loaded, domain=stored)
    for name, paths in scans:
        features = scan_features(seeing, paths, report.part(0.9, 1.0))
        figures.append(told_outside(name, AS_IS, reference.distances(features), threshold))
    write_domain(loaded.entry.folder, stored, measured)
    ours = {"chosen", "label_maps"}  # of our trainings; else its card is of another author
    if ours & read_metadata(loaded.entry.folder).keys():
        upgrade_bundle(loaded.entry.folder)
    report("done", 1.0)
    return measured


@dataclass(frozen=True, eq=False)
class OwnLooks:
    """What a model sees of its own domain, features (N, F) each.

    val_again: (A, N, F), the val scans as other scanners might give them. test: of what took no
    part; (0, F) without any. what: "scans" or "heads". images: whose they were, for people.
    """

    train: NDArray[np.float32]
    val: NDArray[np.float32]
    val_again: NDArray[np.float32]
    test: NDArray[np.float32]
    what: str
    images: str


def _scanned(model: SegmenterModel, data: Path, progress: Progress) -> OwnLooks:
    """Of the scans that a model was trained on."""
    with TemporaryDirectory() as scratch:
        own = _own_scans(data, Path(scratch))
        train = scan_features(model, own.train, progress.part(0.0, 0.6))
        val = scan_features(model, own.val, progress.part(0.6, 0.7))
        again = rescanned_features(model, own.val)
        test = train[:0]
        if own.test:
            test = scan_features(model, own.test, progress.part(0.8, 1.0))
    images = f"{len(own.train)} training scans of {own.name}"
    return OwnLooks(train, val, again, test, "scans", images)


def _synthesised(model: SegmenterModel, maps: Path, progress: Progress) -> OwnLooks:
    """Of heads of the label maps that a model was trained on; they vary as scanners do by
    themselves.
    """
    train, val, test = (
        synthetic_features(model, maps, split, part)
        for split, part in zip(HEADS, progress.parts(len(HEADS)), strict=True)
    )
    images = f"{len(train)} heads synthesised from the training maps of {maps.name}"
    return OwnLooks(train, val, val[None][:0], test, "heads", images)


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
    """(F,) of one scan, as the pipeline looks at it. The network has features.

    Of a model that looks at crops around an organ, a larger scan is looked at around its middle, in
    a crop as the pipeline would take. Of one that looks closer at what it found, what it finds is
    looked at, as in the pipeline, which takes as long as to outline it.
    """
    if model.settings.get("closer_look_mm") is not None:
        return closer_features(model, volume)
    assert isinstance(model.network, MedVisionLlama)  # `fit_segmenter_domain` has checked it
    preparation = Preparation.from_settings(model.settings)
    grid = whole_grid(volume, preparation.spacing_mm, preparation.axes)
    if model.anatomy and not is_crop(volume):
        middle = transform_points(grid.ijk_to_ras, (np.array(grid.shape[::-1]) - 1) / 2)
        spacing_mm, shape = model.settings["spacing_mm"], tuple(model.settings["search_shape"])
        grid = centred_grid(tuple(middle), shape, spacing_mm)
    array, _way = prepare(volume, grid, *preparation.scales)
    k, j, i = array.shape
    window = domain_window(model.settings, (k, j, i))
    return window_features(model.network, array, window, model.device)


def closer_features(model: SegmenterModel, volume: Volume) -> NDArray[np.float32]:
    """(F,) of what a model finds in a scan and looks at closer. The model knows a domain."""
    _order, ordered = in_body_order(volume, model)
    request = OutputRequest(ordered.grid)
    (outline,), _notes = outlines_of(ordered, model, None, request, Progress.of(None))
    assert outline.features is not None
    return outline.features
