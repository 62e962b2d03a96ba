"""The scans that `brain_figures` measures: hand-labelled brains and what contrast, bias and thick
slices do to them, heads drawn from label maps, and T1 and FLAIR of old people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.anatomy.brain import brain_label_table
from MedLLMSegLib.core.geometry import Grid, sub_grid
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case
from MedLLMSegLib.evaluation.labelled_cases import LabelledCases, labelled_cases
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.training.synthesis.head_maps import RIGHT, label_map_file, load_head_map
from MedLLMSegLib.training.synthesis.pose import PoseConfig
from MedLLMSegLib.training.synthesis.sample import SynthesisConfig, draw_head

SYNTHETIC_IMAGES, VAL_IMAGES = 50, 24
SYNTHETIC_SHAPE = (208, 224, 192)  # voxels of 1 mm: a whole head with some of the neck
SYNTHETIC_SEED = 20_000_003  # of the first image, far from those of training and val
VAL_SEED = 30_000_001
SLICE_MM = 5

LabelledScan: TypeAlias = tuple[Volume, NDArray[np.uint8]]  # labels: FreeSurfer's, on its grid


@dataclass(frozen=True)
class Scan:
    """One scan to measure.

    name: "set/case/condition", of its row. person: whose scan it is. read: () -> (scan, its labels
    in FreeSurfer's numbers on the scan's grid or None). resolution_mm: of the result.
    """

    name: str
    person: str
    read: Callable[[], tuple[Volume, NDArray[np.uint8] | None]]
    resolution_mm: float | None = None


def scans(data: Path) -> Iterator[Scan]:
    """All that are measured."""
    yield from oasis_scans(data / "oasis_brains")
    yield from elderly_scans(data / "elderly_heads")
    maps = data / "brain_labelmaps"
    yield from synthetic_scans(maps, "synthetic", "test", SYNTHETIC_IMAGES, SYNTHETIC_SEED)
    yield from synthetic_scans(maps, "val", "val", VAL_IMAGES, VAL_SEED)


def oasis_scans(folder: Path) -> Iterator[Scan]:
    """Brains with labels by hand: as they are, of other contrast, and in thick slices."""
    labelled = labelled_cases(folder, numbering="neuromorphometrics")
    for case in labelled.cases:
        read = partial(_read, labelled, case)
        for condition, change in CHANGES.items():
            changed = partial(_changed, read, change)
            yield Scan(f"oasis/{case.id}/{condition}", case.group, changed)
        for axis, name in enumerate(("k", "j", "i")):
            thick = partial(_thick, read, axis)
            yield Scan(f"oasis/{case.id}/{SLICE_MM} mm along {name}", case.group, thick, 1.0)


def _read(labelled: LabelledCases, case: Case) -> LabelledScan:
    scan = load_volume(case.image)
    return scan, labelled.truth(case, scan)


def _changed(read: Callable[[], LabelledScan], change: Callable[[Array], Array]) -> LabelledScan:
    scan, labels = read()
    return scan.with_array(change(scan.array.astype(np.float32))), labels


def _thick(read: Callable[[], LabelledScan], axis: int) -> LabelledScan:
    return in_thick_slices(*read(), axis)


def _bias(array: Array) -> Array:
    """A smooth field from 0.6 to 1.4 along the diagonal."""
    k, j, i = np.ix_(*(np.linspace(-1, 1, n, dtype=np.float32) for n in array.shape))
    biased: Array = array * (1 + 0.4 * (k + j + i) / 3)
    return biased


def _of_range(array: Array) -> tuple[Array, float]:
    """(0 to 1, the highest value), by the 99.9th percentile."""
    high = float(np.percentile(array, 99.9))
    return np.clip(array / high, 0, 1), high


def _gamma(array: Array, exponent: float) -> Array:
    values, high = _of_range(array)
    result: Array = high * values**exponent
    return result


def _inverted(array: Array) -> Array:
    """Bright becomes dark inside the brain; air stays dark."""
    values, high = _of_range(array)
    return np.where(array > 0, high * (1.05 - values), 0).astype(np.float32)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda array: array,
    "inverted": _inverted,
    "gamma 0.5": lambda array: _gamma(array, 0.5),
    "gamma 2": lambda array: _gamma(array, 2.0),
    "bias": _bias,
}


def in_thick_slices(
    scan: Volume, labels: NDArray[np.uint8], axis: int
) -> tuple[Volume, NDArray[np.uint8]]:
    """Means over slices of `SLICE_MM` along an axis of (k, j, i), and the labels at 1 mm of what
    they cover.
    """
    whole = scan.array.shape[axis] // SLICE_MM
    box = [slice(0, n) for n in scan.array.shape]
    box[axis] = slice(0, whole * SLICE_MM)
    k, j, i = box
    array = np.moveaxis(scan.array[k, j, i].astype(np.float32), axis, 0)
    thick = np.moveaxis(array.reshape(whole, SLICE_MM, *array.shape[1:]).mean(axis=1), 0, axis)
    fine = sub_grid(scan.grid, (k, j, i))
    matrix = fine.ijk_to_ras.copy()
    column = 2 - axis  # matrices act on (i, j, k)
    matrix[:3, 3] += matrix[:3, column] * (SLICE_MM - 1) / 2
    matrix[:3, column] *= SLICE_MM
    grid = Grid((thick.shape[0], thick.shape[1], thick.shape[2]), matrix)
    image = replace(scan, array=thick, ijk_to_ras=grid.ijk_to_ras, forms=None)
    return image, labels[k, j, i]


def elderly_scans(folder: Path) -> Iterator[Scan]:
    """T1 and FLAIR of the same people."""
    if not (folder / "t1").is_dir():
        return
    labelled = labelled_cases(folder / "t1", numbering="muse")
    for case in labelled.cases:
        yield Scan(f"elderly/{case.id}/T1", case.id, partial(_read, labelled, case))
        flair = folder / "flair" / Path(case.image).name
        yield Scan(f"elderly/{case.id}/FLAIR", case.id, partial(_unlabelled, flair))


def _unlabelled(path: Path) -> tuple[Volume, None]:
    return load_volume(path), None


def synthetic_scans(
    folder: Path, set_name: str, split: str, images: int, first_seed: int
) -> Iterator[Scan]:
    """Whole heads drawn from the label maps of a split."""
    names = json.loads((folder / "splits.json").read_text(encoding="utf-8"))[split]
    for number in range(images):
        name = names[number % len(names)]

        def draw(name: str = name, number: int = number) -> tuple[Volume, NDArray[np.uint8]]:
            return synthetic_head(folder, name, first_seed + number)

        yield Scan(f"{set_name}/{name}/{number:02d}", name, draw)


def synthetic_head(folder: Path, name: str, seed: int) -> tuple[Volume, NDArray[np.uint8]]:
    """A head as training draws them, but whole and uncut."""
    config = SynthesisConfig(
        shape=SYNTHETIC_SHAPE, cut=0.0, pose=PoseConfig(shift_mm=(15.0, 10.0, 10.0))
    )
    head = draw_head([load_head_map(label_map_file(folder, name))], seed, config)
    on_the_right = (head.sides == RIGHT).numpy().astype(np.intp)
    labels = brain_label_table()[head.structures.numpy(), on_the_right]
    return Volume(head.image.numpy(), np.eye(4), f"synthetic {seed}"), labels
