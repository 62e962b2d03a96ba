"""A lung mask lies on the radiograph's pixels, or is refused."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.io.lung_masks import load_lung_mask, lung_mask_of
from Testing.helpers.flat_images import blob, save, volume


def test_a_lung_mask_from_a_file_must_fit(tmp_path):
    radiograph = blob(64, 48, 30, 20)
    lungs = np.zeros((64, 48), np.uint8)
    lungs[20:30, 10:30] = 2
    for path in (save(tmp_path / "m.png", lungs), volume(tmp_path / "m.nrrd", lungs[None])):
        assert np.array_equal(load_lung_mask(path, radiograph), lungs > 0)
    for array, words in (
        (lungs.T, "48 x 64"),
        (lungs * 0, "is empty"),
        (np.stack([lungs] * 2), "48 x 64 x 2"),
    ):
        with pytest.raises(UserError, match=words if words != "48 x 64" else "64 x 48 pixels"):
            lung_mask_of(array, radiograph)
