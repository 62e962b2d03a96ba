"""Flat grey images for tests, and files of them."""

import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image

from MedLLMSegLib import Volume
from MedLLMSegLib.io.radiograph import radiograph_of

RAMP = np.arange(64 * 48).reshape(64, 48)  # 0 to 3071
GREY = (RAMP % 251).astype(np.uint8)


def linear(values, center, width):
    """DICOM PS3.3 C.11.2.1.2.1, written out."""
    out = np.empty(values.shape)
    for place, x in np.ndenumerate(values):
        if x <= center - 0.5 - (width - 1) / 2:
            out[place] = 0
        elif x > center - 0.5 + (width - 1) / 2:
            out[place] = 1
        else:
            out[place] = (x - (center - 0.5)) / (width - 1) + 0.5
    return out


def save(path, array, **more):
    """Write a picture and return its path."""
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **more)
    else:
        Image.fromarray(array).save(path, **more)
    return path


def volume(path, array, colours=False):
    """Write a volume with SimpleITK and return its path."""
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=colours), str(path))
    return path


def blob(height, width, row, column, spacing=(1.0, 1.0)):
    """A radiograph with one bright spot at a place."""
    rows, columns = np.mgrid[:height, :width]
    array = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200).astype(np.float32)
    matrix = np.diag([-spacing[1], -spacing[0], 1.0, 1.0])
    tags = {"window_center": 500.0, "window_width": 1000.0}
    return radiograph_of(Volume((array * 1000)[None], matrix, "blob", tags))
