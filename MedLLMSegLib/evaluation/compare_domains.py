"""`medllmseg domain A B`: how far two sets of X-rays lie from each other for a model, as they are
and with the grey values of the one brought to the other's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.types import Array, Json, PathLike
from MedLLMSegLib.data.image_list import ListedImage, list_images
from MedLLMSegLib.data.image_table import TABLE
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.metrics.feature_shift import feature_shift
from MedLLMSegLib.registry.feature_reference import FeatureReference
from MedLLMSegLib.reporting.classification_plots import draw_map

from .image_features import Change, image_features
from .tsne_map import map_features, predict_from_features

FEWEST, FEWEST_PATIENTS = 8, 4  # images and patients of each set
AS_THEY_ARE, HARMONISED = "as they are", "B with the grey values of A"
LEVELS = np.linspace(0, 1, 257)  # quantiles by which grey values are matched


@dataclass(frozen=True)
class ImageSource:
    """A folder or table, and one of its splits; None for all."""

    path: Path
    split: str | None = None

    def __str__(self) -> str:
        return f"{self.path.name}{f' ({self.split})' if self.split else ''}"


def compare_domains(
    one: ImageSource,
    other: ImageSource,
    model: str | Path,
    output: PathLike,
    device: str = "auto",
    progress: Report | None = None,
) -> Json:
    """Write domain.json and a t-SNE map for each way into a folder; returns what was measured.

    Of the features by which the model tells a domain: the maximum mean discrepancy with its
    permutation p, Mahalanobis's distance of B's images from A's, and how well a classifier tells
    images that it did not see apart, by patient. Raises `UserError` for fewer than eight images or
    four patients in a set, for an image in both, and for a patient in two sets of one table; names
    in two tables are not compared.
    """
    loaded, report, folder = load_classifier(model, device), Progress.of(progress), Path(output)
    make_folder(folder)
    sets = [list_images(source.path, source.split) for source in (one, other)]
    _check(sets, (one, other))
    features = image_features(loaded, _paths(sets[0]), None, report.part(0.0, 0.3))
    levels = grey_quantiles(_paths(sets[0]))
    ways: dict[str, Change | None] = {AS_THEY_ARE: None, HARMONISED: matched_to(levels)}
    found: Json = {"a": str(one), "b": str(other), "model": loaded.entry.id, "ways": {}}
    for number, (name, change) in enumerate(ways.items()):
        begin = 0.3 + 0.3 * number
        others = image_features(loaded, _paths(sets[1]), change, report.part(begin, begin + 0.3))
        found["ways"][name] = _measured(features, others, sets)
        path = folder / f"map_{number + 1}.png"
        _draw(features, others, (one, other), path, f"{loaded.entry.id}: {name}")
    write_text(folder / "domain.json", json.dumps(found, indent=1) + "\n")
    report("done", 1.0)
    return found


def _paths(images: Sequence[ListedImage]) -> list[Path]:
    return [image.path for image in images]


def _check(sets: Sequence[Sequence[ListedImage]], sources: tuple[ImageSource, ImageSource]) -> None:
    for images, source in zip(sets, sources, strict=True):
        if len(images) < FEWEST:
            raise UserError(
                f'"{source}" has {len(images)} images, and at least {FEWEST} are needed to compare'
                " it; add images."
            )
        patients = len({image.group for image in images})
        if patients < FEWEST_PATIENTS:
            raise UserError(
                f'"{source}" is of {patients} patients, and at least {FEWEST_PATIENTS} are needed'
                " to compare it; add images of others."
            )
    both = {image.path.resolve() for image in sets[0]} & {i.path.resolve() for i in sets[1]}
    if both:
        raise UserError(
            f'The image "{sorted(both)[0].name}" is in both sets; choose sets that share none.'
        )

    if _table(sources[0]) != _table(sources[1]):
        return  # two tables may give two patients one name
    shared = {image.group for image in sets[0]} & {image.group for image in sets[1]}
    if shared:
        raise UserError(
            f'The patient "{min(shared)}" is in both sets; choose sets that share none.'
        )


def _table(source: ImageSource) -> Path:
    path = source.path.expanduser().resolve()
    return path / TABLE if path.is_dir() else path


def grey_quantiles(images: Sequence[Path]) -> NDArray[np.float64]:
    """The mean of each image's quantiles `LEVELS` of its grey values, 0 to 1."""
    rows = [np.quantile(load_radiograph(path).array, LEVELS) for path in images]
    mean: NDArray[np.float64] = np.mean(rows, axis=0)
    return mean


def matched_to(levels: Array) -> Change:
    """A change that gives an image the grey values of others (histogram matching): each of its
    quantiles becomes theirs. levels: of `grey_quantiles`.
    """

    def change(_number: int, grey: Array) -> NDArray[np.float64]:
        own = np.quantile(grey, LEVELS)
        matched: NDArray[np.float64] = np.interp(grey, own, levels)
        return matched

    return change


def _measured(one: Array, other: Array, sets: Sequence[Sequence[ListedImage]]) -> Json:
    groups = [[image.group for image in images] for images in sets]
    shift = feature_shift(one, other, groups[0], groups[1])
    first = first_half(groups[0])
    reference = FeatureReference.fit(one[first], int(first.sum()))
    own, far = reference.distances(one[~first]), reference.distances(other)
    told = predict_from_features(
        np.concatenate([one, other]),
        ["a"] * len(one) + ["b"] * len(other),
        [f"{name} {group}" for name, of_set in zip("ab", groups, strict=True) for group in of_set],
    )
    return {
        "n": [len(one), len(other)],
        "mmd2": round(shift.mmd2, 5),
        "p": round(shift.p, 5),
        "permutations": shift.permutations,
        "mahalanobis": round(float(np.median(far) / np.median(own)), 4),
        "auc": told.auc.to_dict() if told else None,
    }


def first_half(groups: Sequence[str]) -> NDArray[np.bool_]:
    """Which images (N,) are of the one half, every second patient in the order of their images;
    no patient is in both halves.
    """
    patients = list(dict.fromkeys(groups))
    kept = set(patients[::2])
    return np.array([group in kept for group in groups])


def _draw(
    one: Array, other: Array, sources: tuple[ImageSource, ImageSource], path: Path, title: str
) -> None:
    points = map_features(np.concatenate([one, other]))
    names = [str(sources[0])] * len(one) + [str(sources[1])] * len(other)
    draw_map(points, {"by set": names}, path, title)


def comparison_text(found: Json) -> str:
    """For the screen."""
    lines = [f"A: {found['a']}; B: {found['b']}; features of {found['model']}"]
    for name, way in found["ways"].items():
        auc = way["auc"]
        told = "cannot be measured" if auc is None else f"{auc['value']:.3f}"
        lines.append(
            f"  {name}: MMD^2 {way['mmd2']:.4f} (p {way['p']:.4f}), B's median distance"
            f" {way['mahalanobis']:.2f} times that of A's other half, told apart with AUC {told}"
            f" ({way['n'][0]} and {way['n'][1]} images)"
        )
    return "\n".join([*lines, "Research use only; not a medical device."])
