"""The images of a case: files of their own, or the volumes of one file (4D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.image_count import image_count
from MedLLMSegLib.io.volume_files import load_volume

from .case import Case
from .channel_images import image_of_file


def with_file_images(cases: Sequence[Case], names: Sequence[str]) -> tuple[Case, ...]:
    """The cases with the volumes of their 4D files as images, where several images are named and
    each case is one such file; otherwise as they are.

    Raises `UserError` for a file of more or fewer images than are named.
    """
    alone = all(len(case.images) == 1 for case in cases)
    if len(names) < 2 or not alone or not cases or image_count(cases[0].image) == 1:
        return tuple(cases)
    for case in cases:
        found = image_count(case.image)
        if found != len(names):
            raise UserError(
                f'"{case.image}" holds {found} image{"s" * (found > 1)}, and {len(names)} are named'
                f" ({', '.join(names)}); give a file of as many, or correct the names."
            )
    return tuple(
        replace(case, channels=(case.image,) * (len(names) - 1), volumes=tuple(range(len(names))))
        for case in cases
    )


def read_images(case: Case) -> list[Volume]:
    """All images of a case, 3D, in order. Raises `UserError`."""
    if not case.volumes:
        return [load_volume(path) for path in case.images]
    whole = load_volume(case.image)
    count = len(whole.array) if whole.array.ndim == 4 else 1
    if count <= max(case.volumes):
        raise UserError(
            f'"{case.image}" holds {count} image{"s" * (count > 1)}, and number'
            f" {max(case.volumes) + 1} is needed; check the file."
        )
    return [image_of_file(whole, n) for n in case.volumes]
