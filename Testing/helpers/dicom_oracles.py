"""What other readers make of DICOM files: dcm2niix, SimpleITK (GDCM) and highdicom."""

import subprocess
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.volume import Volume


def dcm2niix_volume(folder: Path, output: Path) -> Volume:
    """The only volume that dcm2niix finds in a folder."""
    import dcm2niix

    output.mkdir()
    command = [dcm2niix.bin, "-b", "n", "-z", "n", "-m", "n", "-f", "out%s", "-o", output, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (written,) = output.glob("*.nii")
    image = nibabel.load(written)
    assert done.returncode == 0, done.stdout
    return Volume(np.asanyarray(image.dataobj).transpose(), image.affine, "dcm2niix")


def itk_volume(files) -> Volume:
    """A series as GDCM reads it, the files in the order given, or one file of many frames."""
    files = [str(file) for file in files]
    image = sitk.ReadImage(files[0] if len(files) == 1 else files, imageIO="GDCMImageIO")
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps[:3, :3] = direction * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ lps, "ITK")


def assert_same_voxels(ours: Volume, other: Volume, atol_mm=1e-3, atol=0.0):
    """Every voxel of ours has the same value as the other's at the same place."""
    assert ours.array.shape == other.array.shape or sorted(ours.array.shape) == sorted(
        other.array.shape
    )
    k, j, i = np.indices(ours.array.shape).reshape(3, -1)
    ours_ijk = np.stack([i, j, k, np.ones_like(i)])
    mapping = np.linalg.inv(other.ijk_to_ras) @ ours.ijk_to_ras
    other_ijk = mapping @ ours_ijk
    nearest = np.rint(other_ijk[:3]).astype(int)
    there = other.ijk_to_ras[:3, :3] @ (other_ijk[:3] - nearest)
    assert np.abs(there).max() < atol_mm, "the voxels lie elsewhere"
    assert nearest.min() >= 0
    assert (nearest.max(1) < other.array.shape[::-1]).all()
    values = other.array[nearest[2], nearest[1], nearest[0]].astype(np.float64)
    np.testing.assert_allclose(ours.array.ravel().astype(np.float64), values, rtol=0, atol=atol)
