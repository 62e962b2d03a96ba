"""The reference of a classifier's own domain, fitted and measured: by what an X-ray is told to be
of another one.

The training images are the reference, each as it is and once as other hands might store it
(`reencoding`). The validation images, each as it is, as JPEG of 224 pixels and re-encoded at
random, set the threshold: 95 of 100 of them stay under it in all three. Nothing of another domain
is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Json, PathLike
from MedLLMSegLib.data.image_list import ListedImage, list_images
from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.registry.domain_reference import DomainReference, as_stored, write_domain
from MedLLMSegLib.registry.feature_reference import FeatureReference

from .image_features import Change, image_features
from .reencoding import AS_CHILDREN, drawn

COMPONENTS, WITHIN = 64, 0.95
AS_IS, AS_JPEG, AT_RANDOM = "as it is", "as JPEG of 224 pixels", "re-encoded at random"


def reencoded_at_random(seed: int) -> Change:
    """A change of its own for each image, the same in every run."""

    def change(number: int, grey: Array) -> NDArray[np.float32]:
        return drawn(np.random.default_rng((seed, number))).of(grey)

    return change


def reencoded_as_children(number: int, grey: Array) -> NDArray[np.float32]:
    """As `cxr_children` was stored by another hand."""
    return AS_CHILDREN.of(grey)


CHANGES: Mapping[str, Change | None] = {
    AS_IS: None,
    AS_JPEG: reencoded_as_children,
    AT_RANDOM: reencoded_at_random(1),
}


def fit_classifier_domain(
    model: str | Path,
    data: PathLike,
    others: Sequence[tuple[Path, str | None]] = (),
    *,
    command: str = "",
    device: str = "auto",
    progress: Report | None = None,
) -> Json:
    """Fit the reference, store it in the model's bundle, and return what was measured.

    data: the model's own images, with their splits. others: folders of other domains and a split of
    each (None: all), of which it is only measured how many are told to be outside. command: that
    repeats it. Raises `UserError` for data without splits; progress may raise `Cancelled`.
    """
    loaded, report = load_classifier(model, device), Progress.of(progress)
    train, val, test = (list_images(data, split) for split in ("train", "val", "test"))
    sets = [  # all listed before the first is looked at, as a name may be mistyped
        (f"{folder.name}{f', {split}' if split else ''}", list_images(folder, split))
        for folder, split in others
    ]
    by_change = [
        image_features(loaded, _paths(train), change, part)
        for change, part in zip(
            (None, reencoded_at_random(0)), report.part(0.0, 0.6).parts(2), strict=True
        )
    ]
    features = FeatureReference.fit(np.concatenate(by_change), COMPONENTS)
    reference = as_stored(features)
    distances = _distances(loaded, reference, val, report.part(0.6, 0.75))
    threshold = threshold_of(list(distances.values()))
    images_of = f"{len(train)} training images of {Path(data).name}"
    stored = DomainReference(reference, threshold, images_of)
    figures = _figures("validation images", val, distances, threshold)
    measured: Json = {"components": COMPONENTS, "figures": figures, "command": command}
    write_domain(loaded.entry.folder, stored, measured)  # whatever becomes of the others
    found = _distances(loaded, reference, test, report.part(0.75, 0.9))
    figures += _figures("test images", test, found, threshold)
    for name, images in sets:
        far = {AS_IS: _distance(loaded, reference, images, None, report.part(0.9, 1.0))}
        figures += _figures(name, images, far, threshold)
    write_domain(loaded.entry.folder, stored, measured)
    update_classifier(loaded.entry.folder)
    report("done", 1.0)
    return measured


def _paths(images: Sequence[ListedImage]) -> list[Path]:
    return [image.path for image in images]


def _distances(
    model: ClassifierModel,
    reference: FeatureReference,
    images: Sequence[ListedImage],
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """How an image is stored -> (N,) distances."""
    parts = progress.parts(len(CHANGES))
    return {
        name: _distance(model, reference, images, change, part)
        for (name, change), part in zip(CHANGES.items(), parts, strict=True)
    }


def _distance(
    model: ClassifierModel,
    reference: FeatureReference,
    images: Sequence[ListedImage],
    change: Change | None,
    progress: Progress,
) -> NDArray[np.float64]:
    return reference.distances(image_features(model, _paths(images), change, progress))


def _figures(
    name: str,
    images: Sequence[ListedImage],
    distances: Mapping[str, NDArray[np.float64]],
    threshold: float,
) -> list[Json]:
    """A row for each way of storing: how many images are told to be outside."""
    patients = len({image.group for image in images})
    return [
        {**told_outside(name, stored, each, threshold), "patients": patients}
        for stored, each in distances.items()
    ]


def threshold_of(distances: Sequence[Array]) -> float:
    """What `WITHIN` of the validation images stay under, however they come.

    distances: for each way that they come, (N,) of the same images.
    """
    return float(np.quantile(np.max(distances, axis=0), WITHIN, method="higher"))


def told_outside(name: str, stored: str, distances: Array, threshold: float) -> Json:
    """How many images are told to be outside, and their median distance in thresholds.

    name: whose images they are. stored: how they come. distances: (N,).
    """
    return {
        "images": name,
        "stored": stored,
        "n": len(distances),
        "outside": int((distances > threshold).sum()),
        "median": round(float(np.median(distances) / threshold), 4),
    }


def figures_text(measured: Json) -> str:
    """For the screen: how many images of each kind are told to be of another domain."""
    lines = []
    for row in measured["figures"]:
        share = 100 * row["outside"] / row["n"]
        lines.append(
            f"  {row['images']}, {row['stored']}: {row['outside']} of {row['n']} outside"
            f" ({share:.1f} %); half of them beyond {row['median']:.2f} of the threshold"
        )
    return "\n".join(lines)
