"""A made-up PET series in DICOM whose SUV is known.

70 kg; 350 MBq at nine o'clock, of which half is left at ten (a half life of an hour), so that one
Bq/mL is a SUV of 70,000 / 175e6 = 4e-4.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from Testing.helpers.dicom_datasets import file_bytes, image_dataset

PET = "1.2.840.10008.5.1.4.1.1.128"
FACTOR = 4e-4
COUNTS = np.random.default_rng(0).integers(100, 3000, (3, 6, 7))


def write_pet(folder, change=None, slopes=(2.0, 3.0, 4.0)):
    """Three slices, each with a slope of its own, as GE's scanners write them. change(data set):
    of each slice.
    """
    folder.mkdir()
    for n, (pixels, slope) in enumerate(zip(COUNTS, slopes, strict=True)):
        data = image_dataset(pixels, PET, n)
        data.Modality, data.Units, data.SeriesDescription = "PT", "BQML", "FDG"
        data.CorrectedImage, data.DecayCorrection = ["DECY", "ATTN", "SCAT"], "START"
        data.PatientWeight = "70"
        data.SeriesDate = data.AcquisitionDate = "20240229"
        data.SeriesTime, data.AcquisitionTime = "100000", f"10{n + 1:02d}00.5"
        drug = Dataset()
        drug.RadiopharmaceuticalStartTime = "090000.000000"
        drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = "350000000", "3600"
        data.RadiopharmaceuticalInformationSequence = Sequence([drug])
        data.RescaleSlope, data.RescaleIntercept = str(slope), "0"
        data.ImagePositionPatient = [0, 0, 3 * n]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [2, 2], "3"
        data.BitsStored, data.HighBit = 16, 15
        if change is not None:
            change(data)
        (folder / f"{n}.dcm").write_bytes(file_bytes(data))
    return folder


def drug(data):
    return data.RadiopharmaceuticalInformationSequence[0]
