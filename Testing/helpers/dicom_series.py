"""DICOM series for tests, written with SimpleITK."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_series(
    folder: Path, depths_mm, uid="1.2.3", size=(8, 9), tilt=0.0, description="T1", start=0
):
    """A CT-like series of axial slices, written in the order of depths_mm; slice n holds the
    value of its depth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for n, depth in enumerate(depths_mm):
        image = sitk.GetImageFromArray(np.full((1, *size[::-1]), round(depth), np.int16))
        image.SetSpacing((0.5, 0.6, 1.0))
        tags = {
            "0008|0060": "CT",
            "0008|103e": description,
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0020|0013": str(n),
            "0020|0032": f"-20\\{-30 + tilt * depth}\\{depth}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"{uid}.{n}",
            "0028|1050": "40\\300",
            "0028|1051": "400\\1500",
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"IM{start + n:04d}.dcm"))
        writer.Execute(image)
    return folder
