"""What a bundle knows of its model's own domain: a small file beside the weights, and who it
belongs to.

    models/domain.safetensors   where the model's features lie on its own images
    configs/metadata.json       "domain": the file's sha256, the threshold, whose images they were,
                                what was measured, and the measured model that all this belongs to

It decides no answer, so it is bound to the measured model's hash and is not under it: a model that
changed has no reference until it is made anew (`medllmseg domain --fit`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as serialise_arrays

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_text
from MedLLMSegLib.core.types import Array, Json, PathLike

from .catalogue import METADATA, measured_model, read_metadata
from .domain_file import DOMAIN_FILE, FIELD, read_domain_file
from .feature_reference import FeatureReference
from .measured_model import MeasuredModel
from .own_figures import OWNER

LARGEST = 1e6  # the distance that is stated for features that are no numbers
_ARRAYS = ("mean", "scale", "basis", "variances")


@dataclass(frozen=True, eq=False)
class DomainReference:
    """By what an image is told to be of another domain.

    features: where the model's features lie on its own images. threshold: of the distance; the
    share `WITHIN` of the validation images stays under it. images: whose they were, for people,
    such as "727 images of NIH ChestX-ray14".
    """

    features: FeatureReference
    threshold: float
    images: str

    def __post_init__(self) -> None:
        if not 0 < self.threshold < np.inf:
            raise ValueError(f"threshold {self.threshold}")

    @cached_property
    def digest(self) -> str:
        """16 hex digits: another reference makes other verdicts of the same outlines."""
        said = json.dumps([self.threshold, self.features.rest, self.images])
        return hashlib.sha256(_serialise(self.features) + said.encode()).hexdigest()[:16]

    def verdict(self, features: Array) -> DomainVerdict:
        """Of one image's features (F,). Raises `ValueError` for features of another network."""
        if features.shape != self.features.mean.shape:
            raise ValueError(f"features {features.shape} for {self.features.mean.shape}")
        distance = float(self.features.distances(features[None])[0])
        if not np.isfinite(distance):
            return DomainVerdict(True, LARGEST, self.threshold, "its features are no numbers")
        if distance <= self.threshold:
            return DomainVerdict(False, distance, self.threshold)
        return DomainVerdict(
            True,
            distance,
            self.threshold,
            f"its features lie {distance / self.threshold:.2f} times as far from those of"
            f" {self.images} as 95 of 100 of the model's own validation images",
        )


def read_domain(folder: PathLike, metadata: Json, model: MeasuredModel) -> DomainReference | None:
    """The reference of a bundle; None where it has none, or one of another measured model.

    Raises `UserError` for a file that is missing or is not the one that was stored.
    """
    data = read_domain_file(folder, metadata, model)
    if data is None:
        return None
    stored = metadata[FIELD]
    try:
        return DomainReference(
            features=_features(data, float(stored["rest"])),
            threshold=float(stored["threshold"]),
            images=str(stored["images"]),
        )
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'The description of the domain in the model bundle "{folder}" is damaged; install it'
            " again."
        ) from error


def write_domain(folder: PathLike, reference: DomainReference, measured: Json) -> Path:
    """Store a reference in a bundle, bound to what the bundle is now; returns the folder.

    reference: `as_stored`. measured: figures and the command that made them, for the metadata.
    """
    folder = Path(folder)
    metadata = read_metadata(folder)
    data = _serialise(reference.features)
    stored: Json = {
        OWNER: measured_model(metadata).sha256,
        "sha256": hashlib.sha256(data).hexdigest(),
        "threshold": reference.threshold,
        "rest": reference.features.rest,
        "images": reference.images,
        **measured,
    }
    if metadata.pop(FIELD, None):  # of the file that goes: killed here, it is a model without one
        _write_metadata(folder, metadata)
    with atomic_write(folder / DOMAIN_FILE) as scratch:
        scratch.write_bytes(data)
    _write_metadata(folder, {**metadata, FIELD: stored})
    return folder


def _write_metadata(folder: Path, metadata: Json) -> None:
    write_text(folder / METADATA, json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")


def as_stored(features: FeatureReference) -> FeatureReference:
    """The features' reference as a bundle gives it back: rounded, so that the threshold is that of
    what is stored.
    """
    return _features(_serialise(features), features.rest)


def _serialise(features: FeatureReference) -> bytes:
    """As a safetensors file: the basis as float16, all else as float32."""
    arrays = {name: getattr(features, name).astype(np.float32) for name in _ARRAYS}
    arrays["basis"] = arrays["basis"].astype(np.float16)
    return serialise_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _features(data: bytes, rest: float) -> FeatureReference:
    arrays: dict[str, NDArray[np.float64]] = {
        name: array.astype(np.float64) for name, array in load_arrays(data).items()
    }
    return FeatureReference(**arrays, rest=rest)
