"""A series from one file or several, and its label maps; each bad input is one sentence."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.image_series import load_label_series, load_series
from MedLLMSegLib.io.volume_files import save_volume

GRID, THICKER = np.diag([-1.5, -1.5, 8.0, 1.0]), np.diag([-1.5, -1.5, 9.0, 1.0])
NAMES = {1: "wall", 2: "cavity"}


def saved(folder, name, shape=(2, 3, 4, 5), fill=None, matrix=GRID):
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.int16)
    if fill is not None:
        array[...] = fill
    save_volume(Volume(array, matrix, name), folder / name)
    return folder / name


def test_one_file_and_several_give_the_same_series(tmp_path):
    whole = load_series([saved(tmp_path, "cine.nii.gz")])
    assert whole.array.shape == (2, 3, 4, 5)
    parts = []
    for number in range(2):
        save_volume(whole.with_array(whole.array[number]), tmp_path / f"{number}.nii.gz")
        parts.append(tmp_path / f"{number}.nii.gz")
    again = load_series(parts)
    assert np.array_equal(again.array, whole.array)
    assert np.array_equal(load_series(parts[::-1]).array, whole.array[::-1])  # in their order


@pytest.mark.parametrize("shape, matrix", [((3, 4, 6), GRID), ((3, 4, 5), THICKER)])
def test_images_of_two_grids_are_no_series(tmp_path, shape, matrix):
    one = saved(tmp_path, "one.nii.gz", (3, 4, 5))
    other = saved(tmp_path, "other.nii.gz", shape, matrix=matrix)
    with pytest.raises(UserError, match=r"other\.nii\.gz.*one series"):
        load_series([one, other])
    with pytest.raises(UserError, match="one image"):
        load_series([one])


def test_label_maps_are_one_an_image_and_of_known_labels(tmp_path):
    scan = load_series([saved(tmp_path, "cine.nii.gz")])
    labels = load_label_series(saved(tmp_path, "labels.nii.gz", fill=2), scan, NAMES)
    assert [each.array.shape for each in labels] == [(3, 4, 5)] * 2
    assert labels[0].array.dtype == np.uint8
    with pytest.raises(UserError, match="label 3, and 1 wall and 2 cavity are known"):
        load_label_series(saved(tmp_path, "odd.nii.gz", fill=3), scan, NAMES)
    with pytest.raises(UserError, match="same grid"):
        load_label_series(saved(tmp_path, "short.nii.gz", (1, 3, 4, 5), fill=1), scan, NAMES)
