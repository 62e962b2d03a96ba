"""The encoder's tokens of many X-rays, made once, and their classes by the names of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.segmentation import comparable_name
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.data.image_list import ListedImage, list_images
from MedLLMSegLib.data.image_table import ALIASES, NEGATIVE
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel

from .image_features import AT_ONCE, check_flat_images, prepared_images


@dataclass(frozen=True, eq=False)
class TokenSet:
    """images: N of them. tokens: (N, S, width) float32. target: (N,) int64, or None where the
    classes are not needed.
    """

    images: tuple[ListedImage, ...]
    tokens: Tensor
    target: Tensor | None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def groups(self) -> list[str]:
        """The patient of each image."""
        return [image.group for image in self.images]

    @property
    def truth(self) -> Tensor:
        """`target` of a labelled set. Raises `ValueError` for any other."""
        if self.target is None:
            raise ValueError("a set of images without classes")
        return self.target


def token_set(
    model: ClassifierModel,
    source: PathLike,
    split: str | None,
    *,
    labelled: bool = True,
    progress: Report | None = None,
) -> TokenSet:
    """Read, prepare and encode the images of a split. Raises `UserError`; see `list_images`."""
    check_flat_images(model)
    images = list_images(source, split)
    target = targets_of(images, model.classes) if labelled else None
    report, rows = Progress.of(progress), []
    for start in range(0, len(images), AT_ONCE):
        report("encoding the images", start / len(images))
        paths = [image.path for image in images[start : start + AT_ONCE]]
        batch = {"image": prepared_images(model, paths).to(model.device)}
        with torch.inference_mode():
            rows.append(model.network.encode(batch).float().cpu())
    return TokenSet(images, torch.cat(rows).clone(), target)


def targets_of(images: Sequence[ListedImage], classes: Sequence[str]) -> Tensor:
    """(N,) int64: each image's class by the model's names.

    A name counts as a class's whatever its capitals and punctuation; any name of no finding
    (`NEGATIVE`) as that of the class without one. Raises `UserError` for another name.
    """
    known = {comparable_name(name): number for number, name in enumerate(classes)}
    negative = next((n for n, name in enumerate(classes) if NEGATIVE.fullmatch(name)), None)
    found = []
    for image in images:
        stated = next((image.columns[a] for a in ALIASES["class"] if image.columns.get(a)), "")
        number = known.get(comparable_name(stated))
        if number is None and negative is not None and NEGATIVE.fullmatch(stated):
            number = negative
        if number is None:
            raise UserError(
                f'The image "{image.id}" has the class "{stated}", and one of'
                f" {', '.join(classes)} is needed; correct the table."
            )
        found.append(number)
    return torch.tensor(found, dtype=torch.int64)
