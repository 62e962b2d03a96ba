"""Which of many scans belong to one patient, for a model that takes several images of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.image_count import image_count
from MedLLMSegLib.io.volume_files import scan_name
from MedLLMSegLib.registry.input_channels import InputChannel, listed

_NUMBERED = re.compile(r"(.+)_(\d{4})")  # nnU-Net's CASE_0000, CASE_0001


def further_images(
    scans: Sequence[Path], channels: Sequence[InputChannel], model: str
) -> dict[Path, tuple[Path, ...]]:
    """The first image of each patient -> the others, in the order of their numbers; none where one
    file (4D) holds all.

    scans: files called CASE_0000, CASE_0001 and so on, or 4D files. channels: of the model. Raises
    `UserError` for a scan with another name, and for a patient with too few or too many images.
    """
    patients: dict[tuple[Path, str], dict[int, Path]] = {}
    whole = []
    for scan in scans:
        if image_count(scan) > 1:  # whether they are as many is seen when it is read
            whole.append(scan)
            continue
        numbered = _NUMBERED.fullmatch(scan_name(scan))
        if numbered is None:
            raise UserError(
                f'The model "{model}" takes {len(channels)} images of one patient, in this order:'
                f" {listed(channels)}; give them with --input, or call them CASE_0000, CASE_0001"
                f' and so on ("{scan.name}" is not called so, and holds one image).'
            )
        name, number = numbered.groups()
        patients.setdefault((scan.parent, name), {})[int(number)] = scan
    for (_, name), images in patients.items():
        if sorted(images) != list(range(len(channels))):
            found = ", ".join(images[number].name for number in sorted(images))
            raise UserError(
                f'The patient "{name}" has the images {found}, and the model "{model}" takes'
                f" {len(channels)}: {listed(channels)}; add what is missing, or leave the patient"
                " out."
            )
    ordered = [[images[n] for n in range(len(channels))] for images in patients.values()]
    found_of: dict[Path, tuple[Path, ...]] = {first: tuple(rest) for first, *rest in ordered}
    return found_of | dict.fromkeys(whole, ())
