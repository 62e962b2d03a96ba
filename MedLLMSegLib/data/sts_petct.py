"""Convert the soft-tissue sarcomas of TCIA, a CT and a PET each, to nnU-Net's layout.

    python -m MedLLMSegLib.data.sts_petct --data ../shared/data/sts_petct --output runs/sts
    python -m MedLLMSegLib.data.sts_petct --data ../shared/data/sts_petct \\
        --output runs/sts-shifted --shift

`medllmseg train` reads the result. The PET is stored as SUV x 20, and written as SUV. The crops end
5 cm beside the tumour, so that its place can be told from a crop's size alone; --shift takes a
random part of each side away, the same at each call.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Box, sub_grid
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume, save_volume

PER_SUV = 20.0  # of the stored numbers
KEPT_MM = 8.0  # between the tumour and a face of a shifted crop, at least
CREDIT = (
    "Vallieres et al., Soft-tissue-Sarcoma, The Cancer Imaging Archive, CC BY 3.0; resampled by the"
    " Image Biomarker Standardisation Initiative (IBSI)"
)


def convert_sts(
    data: PathLike, output: PathLike, shift: bool = False, progress: Report | None = None
) -> Path:
    """Write imagesTr (CASE_0000 the CT in HU, CASE_0001 the PET in SUV), labelsTr, dataset.json
    and, where there is one, splits.json.

    data: a folder with the folders ct, pet and labels. shift: cut each crop at random. Returns
    ``output``. Raises `UserError`.
    """
    data, output = Path(data).expanduser(), Path(output).expanduser()
    check_writable(output)
    names = sorted(path.name for path in (data / "labels").glob("*.nii.gz"))
    if not names:
        raise UserError(
            f'"{data}" has no folder labels with label maps; give the folder of the sarcomas, with'
            " ct, pet and labels."
        )
    for name, part in zip(names, Progress.of(progress).parts(len(names)), strict=True):
        case_id = name.removesuffix(".nii.gz")
        part(case_id, 0.0)
        images = read_patient(data, name)
        if shift:
            box = random_box(images["labels"], case_id)
            images = {kind: cut(image, box) for kind, image in images.items()}
        save_volume(images["ct"], output / "imagesTr" / f"{case_id}_0000.nii.gz")
        save_volume(images["pet"], output / "imagesTr" / f"{case_id}_0001.nii.gz")
        save_volume(images["labels"], output / "labelsTr" / name)
    about = {
        "name": "STS PET-CT" + " (crops shifted at random)" * shift,
        "description": CREDIT,
        "licence": "CC BY 3.0",
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": len(names),
    }
    write_text(output / "dataset.json", json.dumps(about, indent=1) + "\n")
    splits = data / "splits.json"
    if splits.is_file():
        write_text(output / "splits.json", splits.read_text(encoding="utf-8"))
    return output


def read_patient(data: Path, name: str) -> dict[str, Volume]:
    """The images of a patient: "ct" in HU, "pet" in SUV and "labels", on one grid."""
    images = {kind: load_volume(data / kind / name) for kind in ("ct", "pet", "labels")}
    suv = images["pet"].array.astype(np.float32) / PER_SUV
    labels = (images["labels"].array > 0).astype(np.uint8)
    return images | {
        "pet": images["pet"].with_array(suv),
        "labels": images["labels"].with_array(labels),
    }


def random_box(labels: Volume, case_id: str) -> Box:
    """The part of a crop that is kept: each face moves inwards by up to the whole of its distance
    to the tumour but `KEPT_MM`, drawn evenly by the case's name.
    """
    rng = np.random.default_rng(list(case_id.encode()))
    spans = []
    for (low, high), length, spacing_mm in zip(
        _extent(labels.array), labels.array.shape, labels.spacing_mm, strict=True
    ):
        kept = int(np.ceil(KEPT_MM / spacing_mm))
        most = np.maximum([low - kept, length - high - kept], 0)
        before, after = (int(rng.integers(0, room + 1)) for room in most)
        spans.append(slice(before, length - after))
    k, j, i = spans
    return k, j, i


def _extent(labels: Array) -> list[tuple[int, int]]:
    """Half-open, along each axis (k, j, i)."""
    places = np.nonzero(labels)
    return [(int(along.min()), int(along.max()) + 1) for along in places]


def cut(volume: Volume, box: Box) -> Volume:
    """The part of a volume inside a box."""
    matrix = sub_grid(volume.grid, box).ijk_to_ras
    return replace(volume, array=volume.array[box].copy(), ijk_to_ras=matrix, forms=None)


def _summary(output: Path, about: Mapping[str, str]) -> str:
    return f"{len(list((output / 'labelsTr').iterdir()))} patients in {output}: {about['name']}"


def main(arguments: list[str] | None = None) -> int:
    """Convert the folder that the arguments name; returns 2 where that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder with ct, pet and labels")
    parser.add_argument("--output", required=True, help="folder for imagesTr and labelsTr")
    parser.add_argument("--shift", action="store_true", help="cut each crop at random")
    options = parser.parse_args(arguments)
    try:
        output = convert_sts(options.data, options.output, options.shift)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(_summary(output, json.loads((output / "dataset.json").read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
