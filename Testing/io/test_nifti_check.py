"""Files that only look damaged, in both byte orders."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.volumes import make_volume, nifti_bytes


def test_a_whole_nifti_of_that_kind_is_read(tmp_path):
    """The bad files above fail for their fault, not because the way they are made is wrong."""
    (tmp_path / "a.nii").write_bytes(nifti_bytes())
    assert np.array_equal(load_volume(tmp_path / "a.nii").array, make_volume("ras").array)
    (tmp_path / "a.nii.gz").write_bytes(nifti_bytes())  # not packed, whatever its name says
    assert np.array_equal(load_volume(tmp_path / "a.nii.gz").array, make_volume("ras").array)


@pytest.mark.parametrize("order", [">", "<"])
def test_both_byte_orders(tmp_path, order):
    nibabel = pytest.importorskip("nibabel")
    volume = make_volume()
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume.array.T, volume.ijk_to_ras, header), tmp_path / "a.nii")
    assert np.array_equal(load_volume(tmp_path / "a.nii").array, volume.array)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(data[:-2])
    with pytest.raises(UserError, match="cut short"):
        load_volume(tmp_path / "a.nii")
