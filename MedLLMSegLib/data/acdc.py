"""Convert cine heart scans of the ACDC challenge from HDF5 to the Decathlon's layout.

    python -m MedLLMSegLib.data.acdc --data ../shared/data/acdc --output runs/acdc

`medllmseg train` reads the result. The HDF5 files hold neither spacing nor orientation, so both are
assumed. Spacing: 1.5 x 1.5 x 10 mm. Orientation: that of the usual display of short-axis slices,
from which some of these are turned. Columns (i) run from right to left, rows (j) from anterior to
posterior, slices (k) from the heart's base to its apex. This grid is left-handed, because base to
apex is opposite to the viewing direction.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import save_volume

from . import group_of
from .case import SPLITS

SPACING_MM = (10.0, 1.5, 1.5)  # (k, j, i)
LABELS = {"0": "background", **{str(s.label): s.name for s in cardiac_structures()}}
CREDIT = (
    "Automated Cardiac Diagnosis Challenge (ACDC), Bernard et al., IEEE Transactions on Medical"
    " Imaging 2018; CC BY-NC-SA 4.0; spacing assumed"
)


def convert_acdc(data: PathLike, output: PathLike, progress: Report | None = None) -> Path:
    """Write imagesTr, labelsTr, dataset.json and splits.json (of patients).

    data: a folder of patientNNN_frameNN.h5 and maybe splits.json. The images keep their values (0
    to 1) as float32, the labels are uint8. Returns ``output``. Raises `UserError`.
    """
    data, output = Path(data).expanduser(), Path(output).expanduser()
    check_writable(output)
    sources = sorted(data.glob("patient*_frame*.h5"))
    if not sources:
        raise UserError(
            f'"{data}" holds no files called patientNNN_frameNN.h5; give the folder of the ACDC'
            " data in HDF5."
        )
    splits = _splits(data / "splits.json", {group_of(path.stem) for path in sources})
    for path, part in zip(sources, Progress.of(progress).parts(len(sources)), strict=True):
        part(path.stem, 0.0)
        image, labels = read_hdf5(path)
        save_volume(image, output / "imagesTr" / f"{path.stem}.nii.gz")
        save_volume(labels, output / "labelsTr" / f"{path.stem}.nii.gz")
    about = {
        "name": "ACDC",
        "description": CREDIT,
        "licence": "CC BY-NC-SA 4.0",
        "modality": {"0": "cine MR"},
        "labels": LABELS,
        "numTraining": len(sources),
    }
    write_text(output / "dataset.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    if splits:
        write_text(output / "splits.json", json.dumps(splits, indent=1) + "\n")
    return output


def read_hdf5(path: Path) -> tuple[Volume, Volume]:
    """One frame: (image float32, labels uint8), [k, j, i] with slices along k.

    The assumed ijk_to_ras: i to the left, j to posterior, k to inferior; the origin is the centre
    of the first voxel.
    """
    import h5py  # of the extra [train]; only this converter needs it

    try:
        with h5py.File(path) as file:
            image, labels = (np.asarray(file[key]) for key in ("image", "label"))
    except (OSError, KeyError) as error:
        raise UserError(
            f'"{path}" could not be read as HDF5 with "image" and "label"; copy it again.'
        ) from error
    if image.shape != labels.shape or image.ndim != 3:
        raise UserError(
            f'"{path}" has an image of {image.shape} and labels of {labels.shape}, and two equal 3D'
            " arrays are needed; copy it again."
        )
    matrix = np.diag([*(-s for s in SPACING_MM[::-1]), 1.0])
    return (
        Volume(image.astype(np.float32), matrix, path.stem),
        Volume(labels.astype(np.uint8), matrix, path.stem),
    )


def _splits(path: Path, patients: set[str]) -> dict[str, list[str]] | None:
    """The stated splits of the present patients; None without the file."""
    if not path.is_file():
        return None
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        return {name: [p for p in stated[name] if p in patients] for name in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{path}" has no lists "train", "val" and "test" of patients; correct or remove it.'
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Convert the folder that the arguments name; returns 2 where that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, help="folder with patientNNN_frameNN.h5 and maybe splits.json"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="folder for imagesTr, labelsTr, dataset.json and splits.json",
    )
    options = parser.parse_args(arguments)
    try:
        output = convert_acdc(options.data, options.output)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{len(list((output / 'imagesTr').iterdir()))} cases in {output}; the spacing is assumed: "
        f"{' x '.join(f'{s:g}' for s in SPACING_MM[::-1])} mm"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
