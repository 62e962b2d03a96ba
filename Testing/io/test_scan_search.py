"""Which scans the paths of a user stand for."""

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.scan_search import find_scans
from Testing.helpers.dicom_series import write_series


def test_what_a_folder_stands_for(tmp_path):
    data = tmp_path / "data"
    for name in ("b.nii.gz", "a.nrrd", "c.mha", "labels.seg.nrrd", "._b.nii.gz", "notes.txt"):
        data.mkdir(exist_ok=True)
        (data / name).write_bytes(b"x")
    series = write_series(data / "series", [1, 2])
    (data / "empty").mkdir()
    assert find_scans([data]) == [data / "a.nrrd", data / "b.nii.gz", data / "c.mha", series]
    assert find_scans([series]) == [series]
    assert find_scans(sorted(series.iterdir())) == [
        series / "IM0000.dcm"
    ]  # two slices are one scan
    assert find_scans([data / "b.nii.gz", data]) == [
        data / "b.nii.gz",
        data / "a.nrrd",
        data / "c.mha",
        series,
    ]
    assert find_scans([tmp_path / "gone.nii"]) == [tmp_path / "gone.nii"]
    with pytest.raises(UserError, match="holds no scan"):
        find_scans([data / "empty"])
