"""Numbers in files are read and written with a point, also where the user's locale has a comma.

Qt's programs, such as 3D Slicer, take over the user's locale, and C's libraries follow it.
"""

import ctypes
import locale

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume
from Testing.helpers.volumes import make_segmentation, make_volume


@pytest.fixture
def decimal_comma():
    """The process with a German locale. `.ci/run` builds it."""
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "de_DE.utf8", "German_Germany.1252", "fr_FR.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        yield
        assert locale.localeconv()["decimal_point"] == ","  # as it was left
        locale.setlocale(locale.LC_ALL, before)
        return
    pytest.skip("NO LOCALE WITH A DECIMAL COMMA: build de_DE.UTF-8 (.ci/run does)")


def test_the_locale_reaches_cs_libraries(decimal_comma):
    """Else the tests below would show nothing."""
    number = ctypes.c_double
    strtod = ctypes.CDLL(None).strtod
    strtod.restype = number
    assert strtod(b"1,5", None) == 1.5


@pytest.mark.parametrize("suffix", (".nii.gz", ".nii", ".nrrd", ".mha"))
def test_volumes(tmp_path, suffix, decimal_comma):
    volume = make_volume()
    path = save_volume(volume, tmp_path / f"a{suffix}")
    np.testing.assert_allclose(load_volume(path).ijk_to_ras, volume.ijk_to_ras, atol=1e-4)
    assert np.array_equal(load_volume(path).array, volume.array)


@pytest.mark.parametrize("suffix", (".nii.gz", ".nrrd", ".mha", ".mhd"))
def test_files_that_others_wrote_with_a_point(tmp_path, suffix, decimal_comma):
    with_point = sitk.GetImageFromArray(make_volume().array)
    with_point.SetSpacing((0.7, 1.3, 2.6))
    with_point.SetOrigin((1.25, -2.5, 3.75))
    german = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    sitk.WriteImage(with_point, str(tmp_path / f"a{suffix}"))
    locale.setlocale(locale.LC_ALL, german)
    matrix = load_volume(tmp_path / f"a{suffix}").ijk_to_ras
    expected = np.diag([-0.7, -1.3, 2.6, 1])
    expected[:3, 3] = [-1.25, 2.5, 3.75]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_files_for_others_have_a_point(tmp_path, decimal_comma):
    text = save_segmentation(make_segmentation(), tmp_path / "a.seg.nrrd").read_bytes()
    header = text.partition(b"\n\n")[0].decode()
    directions = next(line for line in header.splitlines() if line.startswith("space directions"))
    numbers = directions.partition(":")[2].replace("(", "").replace(")", "").replace(",", " ")
    assert len(numbers.split()) == 9
    assert all("." in number for number in numbers.split())
