"""Small scans, label maps and tables of cases, on a left-handed, anisotropic grid."""

import json

import numpy as np

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.volume import Volume

GRID = np.diag([-0.7, 1.3, 2.6, 1.0])
GRID[:3, 3] = [10, 20, -30]
SHAPE = (6, 7, 8)


def labels_of(n=0):
    """A label map with a block of 1 and a voxel of 2, whose place depends on ``n``."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:4, 3:6], labels[4, 5, 1 + n % 4] = 1, 2
    return labels


def add_volume(path):
    """Write a scan of noise."""
    save_volume(Volume(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), GRID), path)


def add_case(folder, name, labels=None, matrix=GRID):
    """Write a scan and its label map in the Decathlon's layout."""
    add_volume(folder / f"imagesTr/{name}.nii.gz")
    labels = labels_of() if labels is None else labels
    save_volume(Volume(labels, matrix), folder / f"labelsTr/{name}.nii.gz")


def write_json(folder, name, content):
    """Write a JSON file."""
    (folder / name).write_text(json.dumps(content))


def rewrite(labels, matrix=GRID):
    """What replaces the label map of one case of a Decathlon folder."""
    return lambda data: save_volume(
        Volume(labels, matrix), data / "labelsTr/hippocampus_003.nii.gz"
    )


def shifted(mm):
    """`GRID` moved to the right."""
    matrix = GRID.copy()
    matrix[0, 3] += mm
    return matrix


def table_row(name, *more):
    """A row of the fixture ``table``'s CSV: scan, label map, and further cells."""
    return ",".join([f"scans/{name}.nrrd", f"scans/{name}_labels.nrrd", *more]) + "\n"


def groups_in(cases):
    """The groups that some cases belong to."""
    return {case.group for case in cases}
